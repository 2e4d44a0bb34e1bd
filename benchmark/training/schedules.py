"""Learning-rate schedules: which part of a trial's rate each step has. Add one as one class here.

Each is the `[schedule]` section of a study. The rate that a study varies is the base rate, the highest that
any of these gives: step s = 0, 1, ..., T - 1 has the base rate times a factor in (0, 1]. The factors of a
whole budget are one table, from which a step takes its own by its count: a recorded step may not ask the
host.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor

from benchmark.base.section import Section


class Constant(Section):
    """The base rate throughout."""

    name: Literal["constant"] = "constant"

    def factors(self, num_steps: int) -> None:
        """None: the rate is taken as it is."""


class _WarmedUp(Section):
    share: float = Field(default=0.05, gt=0.0, lt=1.0)

    def _rise(self, num_steps: int) -> list[float]:
        """Of the steps that warm up."""
        warm = min(max(1, round(self.share * num_steps)), num_steps)
        return [(step + 1) / warm for step in range(warm)]


class Warmup(_WarmedUp):
    """Linear warm-up, then the base rate (Goyal et al. 2017, 1706.02677, section 2.2).

    Of W warm-up steps, step s = 0, ..., W - 1 has (s + 1) / W of the base rate.

    Attributes:
        share: of the budget that warms up: W = round(share T), at least 1. (The paper: 5 of 90 epochs.)
    """

    name: Literal["warmup"] = "warmup"

    def factors(self, num_steps: int) -> list[float]:
        """Of every step of a budget: T numbers in (0, 1]."""
        rise = self._rise(num_steps)
        return rise + [1.0] * (num_steps - len(rise))


class WarmupCosine(_WarmedUp):
    """Linear warm-up, then half a cosine towards 0 (Loshchilov & Hutter 2017, 1608.03983, without restarts).

    Step i of the N = T - W after the warm-up has (1 + cos(pi i / N)) / 2 of the base rate.

    Attributes:
        share: of the budget that warms up, as in `Warmup`.
    """

    name: Literal["warmup-cosine"] = "warmup-cosine"

    def factors(self, num_steps: int) -> list[float]:
        """Of every step of a budget: T numbers in (0, 1]."""
        rise = self._rise(num_steps)
        left = num_steps - len(rise)
        return rise + [(1 + math.cos(math.pi * step / left)) / 2 for step in range(left)]


Schedule = Constant | Warmup | WarmupCosine
ScheduleSpec = Annotated[Schedule, Field(discriminator="name")]
SCHEDULES: Mapping[str, type[Section]] = {
    schedule.model_fields["name"].default: schedule for schedule in get_args(Schedule)
}


def factors_on(schedule: Schedule, num_steps: int, device: torch.device) -> Tensor | None:
    """A schedule's factors of every step, [T] float32 on a device; None where the rate is constant."""
    factors = schedule.factors(num_steps)
    return None if factors is None else torch.tensor(factors, dtype=torch.float32, device=device)
