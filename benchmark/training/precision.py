"""The arithmetic of training steps. Evaluations and probes are in float32 whatever it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["fp32", "tf32", "bf16"]
"""`fp32`: IEEE single precision. `tf32`: products of matrices, and convolutions, round their factors to 10
bits (NVIDIA GPUs of compute capability 8.0 or newer). `bf16`: automatic mixed precision with bfloat16 (7
bits): state, normalization and loss stay in float32, as `torch.autocast` has it."""


@contextmanager
def computing_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """What runs inside is computed in this precision."""
    if precision == "bf16":
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            yield
    elif precision == "tf32":
        _allow_tf32(True)
        try:
            yield
        finally:
            _allow_tf32(False)  # as `seeding.make_deterministic` has it
    else:
        yield


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
