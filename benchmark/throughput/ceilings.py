"""What the machine could do at best, and how much of it a step asks for.

Three ceilings, each a time that a step cannot take less than, if it is made of operators launched one by one:

- matrix products: the step's floating-point operations over the best rate of a large matrix product;
- copy: each operator reads its inputs and writes its outputs once, in the time that a copy of as many bytes
  takes beyond the smallest operator (an engine that fuses operators moves less, and can pass it);
- launches: the operators of a step times what the smallest one takes, launched from Python.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

CEILINGS = ("matmul", "copy", "launch")


@dataclass(frozen=True)
class Work:
    """What one step of one replica asks for.

    Attributes:
        flops: floating-point operations of its matrix products and convolutions; a multiply-add is two.
        sizes: bytes that each of its operators reads and writes.
    """

    flops: float
    sizes: tuple[int, ...]


class Operations(TorchDispatchMode):
    """Counts the operators that run while it is entered: neither views nor allocations.

    Attributes:
        sizes: bytes of the tensors that each reads and writes.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: list[int] = []

    @property
    def count(self) -> int:
        """How many."""
        return len(self.sizes)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not (func.is_view or name == "_unsafe_view" or "empty" in name):
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
            self.sizes.append(sum(tensor.numel() * tensor.element_size() for tensor in tensors))
        return out


def count_work(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> Work:
    """Count a plain training step: forward, cross-entropy, backward and update.

    Args:
        network: [N, C, H, W] -> [N, K] logits.
        optimizer: of its parameters.
        images: [N, C, H, W].
        labels: [N].
    """

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    network.train()
    step()  # the first makes the optimizer's state
    with FlopCounterMode(display=False) as flops:
        step()
    with Operations() as operations:
        step()
    return Work(float(flops.get_total_flops()), tuple(operations.sizes))


@dataclass(frozen=True)
class Machine:
    """What was measured of the machine, with some number of threads.

    Attributes:
        flops_per_s: of the best matrix product, float32.
        copy_s: (bytes read and written, seconds beyond the smallest operator) of copies, by size.
        launch_s: of the smallest operator.
    """

    flops_per_s: float
    copy_s: tuple[tuple[int, float], ...]
    launch_s: float

    def seconds(self, work: Work, launches: float | None, replicas: int) -> dict[str, float | None]:
        """Each ceiling's time for a step of `replicas` replicas; None where launches are not known.

        Args:
            work: of one replica.
            launches: of the whole step.
            replicas: whose operators run as one: R times as many bytes each.
        """
        sizes, seconds = ([0, *column] for column in zip(*self.copy_s, strict=True))
        moved = np.array(work.sizes, dtype=float) * replicas
        # Beyond the largest copy that was measured, at its rate.
        times = np.interp(moved, sizes, seconds) * np.maximum(moved / sizes[-1], 1.0)
        return {
            "matmul": replicas * work.flops / self.flops_per_s,
            "copy": float(times.sum()),
            "launch": None if launches is None else launches * self.launch_s,
        }

    def best(self, other: "Machine") -> "Machine":
        """The better of two measurements of each."""
        pairs = zip(self.copy_s, other.copy_s, strict=True)
        return Machine(
            max(self.flops_per_s, other.flops_per_s),
            tuple((size, min(ours, theirs)) for (size, ours), (_, theirs) in pairs),
            min(self.launch_s, other.launch_s),
        )


def measure_machine(device: torch.device, *, seconds: float, large: bool) -> Machine:
    """Measure the ceilings with the present number of threads.

    Args:
        device: where.
        seconds: for each of the measurements.
        large: whether to try the products and copies that take long, too.
    """
    one = torch.zeros(1, device=device)
    launch = _best(lambda: one.add_(one), device, seconds)
    rates, copies = [], []
    for size in (256, 512, 1024, 2048) if large else (256,):
        a, b, out = (torch.rand(size, size, device=device) for _ in range(3))
        took = _best(partial(torch.mm, a, b, out=out), device, seconds)
        rates.append(2 * size**3 / took)
    for exponent in range(12, 29 if large else 21, 2):
        source = torch.rand(2**exponent // 8, device=device)  # read and written: twice 4 bytes each
        took = _best(partial(torch.empty_like(source).copy_, source), device, seconds)
        copies.append((2**exponent, max(took - launch, 0.0)))
    return Machine(max(rates), tuple(copies), launch)


def _best(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """The least mean time of a call, over batches of calls that fill the seconds."""

    def wait() -> None:
        if device.type != "cpu":
            torch.zeros(1, device=device).item()

    def run(calls: int) -> float:
        wait()
        began = time.perf_counter()
        for _ in range(calls):
            work()
        wait()
        return (time.perf_counter() - began) / calls

    run(1)
    calls = max(1, min(1000, int(seconds / 5 / max(run(1), 1e-7))))
    return min(run(calls) for _ in range(5))


def shares(ceilings: dict[str, float | None], step_s: float) -> dict[str, float | None]:
    """Each ceiling's time over the measured time of a step."""
    return {name: None if value is None else value / step_s for name, value in ceilings.items()}


def binding(found: dict[str, float | None], names: Sequence[str] = CEILINGS) -> str:
    """The ceiling that is nearest."""
    return max(names, key=lambda name: found[name] or 0.0)
