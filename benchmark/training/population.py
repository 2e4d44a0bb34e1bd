"""Replicas of one variant that train together: rows of one state, each with its own rate, seed and step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmark.training.state import TrainState
from benchmark.training.step import BatchOrder, Problem, StreamKeys, batches_of


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


@dataclass(frozen=True)
class Reading:
    """How a replica is after some steps.

    Attributes:
        loss, accuracy, gradient_norm: sums over the steps (see `Population.sums`).
        parameter_norm: as it is now.
        is_finite: whether every parameter is.
    """

    loss: float
    accuracy: float
    gradient_norm: float
    parameter_norm: float
    is_finite: bool


@dataclass
class Population:
    """R replicas of one variant.

    Attributes:
        problem: what all of them share.
        rows: R of them.
        state: [R, ...] each of its tensors; an engine updates it in place.
        sums: [R, 3] on the device: of every step since the last `read`, the sums of the batch's mean loss,
            its share classified right, and the gradient's norm before any clipping.
    """

    problem: Problem
    rows: list[Row]
    state: TrainState
    sums: Tensor

    def __post_init__(self) -> None:
        self.keys = StreamKeys.stack([row.keys for row in self.rows])
        self.learning_rates = torch.stack([row.learning_rate for row in self.rows])[:, None]

    @classmethod
    def of(cls, problem: Problem, rows: Sequence[Row], states: Sequence[TrainState]) -> "Population":
        """A population of single trials' rows and states."""
        state = TrainState.stack(states)
        return cls(problem, list(rows), state, state.parameters.new_zeros(len(rows), 3))

    def clone(self) -> "Population":
        """An independent copy: what an engine does to it is thrown away with it."""
        return replace(self, rows=list(self.rows), state=self.state.clone(), sums=self.sums.clone())

    def keep(self, positions: Sequence[int]) -> "Population":
        """Some of the rows, untouched; the others have ended."""
        if len(positions) == len(self.rows):
            return self
        return self._selected(positions)

    def joined(self, rows: Sequence[Row], states: Sequence[TrainState]) -> "Population":
        """With further replicas behind the others; their sums begin at 0, as all do after `read`."""
        own = [self.state.row(position) for position in range(len(self.rows))]
        return Population.of(self.problem, [*self.rows, *rows], [*own, *states])

    def padded(self, num_rows: int) -> "Population":
        """Itself, or a copy with the last row repeated up to so many."""
        if num_rows == len(self.rows):
            return self
        last = len(self.rows) - 1
        return self._selected([min(position, last) for position in range(num_rows)])

    def row(self, position: int) -> "Population":
        """One replica alone, its state and sums as views of this population's."""
        return replace(
            self,
            rows=self.rows[position : position + 1],
            state=self.state.part(position, position + 1),
            sums=self.sums[position : position + 1],
        )

    def batches(self, num_steps: int) -> Tensor:
        """[num_steps, R, B] int64: the images of every row's next steps."""
        orders, starts = [row.order for row in self.rows], [row.num_steps_done for row in self.rows]
        return batches_of(orders, starts, num_steps)

    def stepped(self, num_steps: int) -> None:
        """Note that every row has taken so many steps: an engine says so when it has."""
        self.rows = [replace(row, num_steps_done=row.num_steps_done + num_steps) for row in self.rows]

    def read(self) -> list["Reading"]:
        """How every row is, its sums since the last call included; waits for the device, once."""
        norms = torch.linalg.vector_norm(self.state.parameters, dim=1)
        finite = self.state.parameters.isfinite().all(1)
        values = torch.cat((self.sums, norms[:, None], finite[:, None]), 1).tolist()
        self.sums.zero_()
        return [
            Reading(loss, correct, gradient, norm, bool(ok)) for loss, correct, gradient, norm, ok in values
        ]

    def _selected(self, positions: Sequence[int]) -> "Population":
        return replace(
            self,
            rows=[self.rows[position] for position in positions],
            state=self.state.rows(positions),
            sums=self.sums[list(positions)],
        )
