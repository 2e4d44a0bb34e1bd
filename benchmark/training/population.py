"""Replicas of one variant that train together: rows of one state, each with its own rate, seed and step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmark.training.state import TrainState
from benchmark.training.step import BatchOrder, Problem, StreamKeys


@dataclass(frozen=True)
class Row:
    """What one replica has of its own, beside its row of the state.

    Attributes:
        keys: its random streams.
        learning_rate: float32 scalar on the device.
        order: which images it sees when.
        num_steps_done: optimizer steps taken, as the host knows it.
    """

    keys: StreamKeys
    learning_rate: Tensor
    order: BatchOrder
    num_steps_done: int = 0


@dataclass
class Population:
    """R replicas of one variant.

    Attributes:
        problem: what all of them share.
        rows: R of them.
        state: [R, ...] each of its tensors; an engine updates it in place.
        sums: [R, 3] float32 on the device: of every step since the last `take_sums`, the sums of the batch's
            mean loss, its share classified right, and the gradient's norm before any clipping.
    """

    problem: Problem
    rows: list[Row]
    state: TrainState
    sums: Tensor

    @classmethod
    def of(cls, problem: Problem, rows: Sequence[Row], states: Sequence[TrainState]) -> "Population":
        """A population of single trials' rows and states."""
        state = TrainState.stack(states)
        return cls(problem, list(rows), state, torch.zeros(len(rows), 3, device=state.step.device))

    def clone(self) -> "Population":
        """An independent copy: what an engine does to it is thrown away with it."""
        return replace(self, rows=list(self.rows), state=self.state.clone(), sums=self.sums.clone())

    def keep(self, positions: Sequence[int]) -> "Population":
        """Some of the rows, untouched; the others have ended."""
        if len(positions) == len(self.rows):
            return self
        return replace(
            self,
            rows=[self.rows[position] for position in positions],
            state=self.state.rows(positions),
            sums=self.sums[list(positions)],
        )

    def stepped(self, num_steps: int) -> None:
        """Note that every row has taken so many steps: an engine says so when it has."""
        self.rows = [replace(row, num_steps_done=row.num_steps_done + num_steps) for row in self.rows]

    def take_sums(self) -> list[list[float]]:
        """The sums since the last call, by row; waits for the device."""
        sums: list[list[float]] = self.sums.tolist()
        self.sums.zero_()
        return sums
