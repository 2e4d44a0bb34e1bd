"""The arithmetic of training steps. Evaluations and probes are in float32 whatever it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["fp32", "tf32", "bf16"]
"""`fp32`: IEEE single precision. `tf32`: products of matrices, and convolutions, round their factors to 10 bits
(NVIDIA GPUs of compute capability 8.0 or newer). `bf16`: automatic mixed precision with bfloat16 (7 bits): state,
normalization and loss stay in float32, as `torch.autocast` has it."""


@contextmanager
def computing_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """What runs inside is computed in this precision."""
    if precision == "bf16":
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            yield
    elif precision == "tf32":
        switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
        before = [switch.allow_tf32 for switch in switches]
        try:
            for switch in switches:
                switch.allow_tf32 = True
            yield
        finally:
            for switch, value in zip(switches, before, strict=True):
                switch.allow_tf32 = value
    else:
        yield
