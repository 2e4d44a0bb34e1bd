"""What a training step reads and writes: flat tensors, no hidden state.

Shapes: P trainable parameters in all, concatenated in the network's own order into one vector; R replicas of
one network, rows of a state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in the flat vector."""

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]

    @classmethod
    def of(cls, network: nn.Module) -> "Layout":
        """The layout of a network's trainable parameters."""
        named = dict(network.named_parameters())
        return cls(tuple(named), tuple(p.shape for p in named.values()))

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """[..., P] -> named views of it, [..., *shape]."""
        parts = torch.split(flat, [shape.numel() for shape in self.shapes], dim=-1)
        return {
            name: part.view((*flat.shape[:-1], *shape))
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }


@dataclass(frozen=True)
class TrainState:
    """The state of one trial, or of R with a leading dimension [R] everywhere.

    A step updates its tensors in place: it owns them.

    Attributes:
        parameters: [P] float32.
        moments: the optimizer's vectors, [P] each.
        buffers: the normalizations' running statistics, by module path.
        step: int64 scalar, steps taken.
    """

    parameters: Tensor
    moments: dict[str, Tensor]
    buffers: dict[str, Tensor]
    step: Tensor

    def clone(self) -> "TrainState":
        """An independent copy."""
        return self._each(torch.clone)

    def fits(self, other: "TrainState") -> bool:
        """Whether another state's values could be this one's: the same tensors, of like shapes and types."""

        def form(state: TrainState) -> list[object]:
            tensors = [
                ("", state.parameters),
                ("", state.step),
                *state.moments.items(),
                *state.buffers.items(),
            ]
            return [(name, tensor.shape, tensor.dtype) for name, tensor in tensors]

        return form(self) == form(other)

    def row(self, position: int) -> "TrainState":
        """One replica's state, as views: what writes to it writes to this one."""
        return self._each(lambda tensor: tensor[position])

    def part(self, first: int, end: int) -> "TrainState":
        """Neighbouring replicas' states, as views."""
        return self._each(lambda tensor: tensor[first:end])

    def copy_(self, other: "TrainState") -> None:
        """Take another state's values."""
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            mine.copy_(theirs)

    def tensors(self) -> list[Tensor]:
        """All of its tensors, in a fixed order."""
        return [self.parameters, *self.moments.values(), *self.buffers.values(), self.step]

    def rows(self, positions: Sequence[int]) -> "TrainState":
        """An independent copy of some replicas' states."""
        index = torch.tensor(positions, device=self.step.device)
        return self._each(lambda tensor: tensor.index_select(0, index))

    @staticmethod
    def stack(states: "Sequence[TrainState]") -> "TrainState":
        """The states of single trials as rows of one."""
        first = states[0]
        return TrainState(
            torch.stack([state.parameters for state in states]),
            {name: torch.stack([state.moments[name] for state in states]) for name in first.moments},
            {name: torch.stack([state.buffers[name] for state in states]) for name in first.buffers},
            torch.stack([state.step for state in states]),
        )

    def _each(self, change: Callable[[Tensor], Tensor]) -> "TrainState":
        return TrainState(
            change(self.parameters),
            {name: change(value) for name, value in self.moments.items()},
            {name: change(value) for name, value in self.buffers.items()},
            change(self.step),
        )


def flatten(network: nn.Module) -> Tensor:
    """A network's trainable parameters as one new vector, [P]."""
    return nn.utils.parameters_to_vector(network.parameters()).detach().clone()
