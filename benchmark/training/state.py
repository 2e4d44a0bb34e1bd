"""What a training step reads and writes: flat tensors, no hidden state.

Shapes: P trainable parameters in all, concatenated in the network's own order into one vector.
"""

from dataclasses import dataclass, replace

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
        """[P] -> named views of it."""
        parts = torch.split(flat, [shape.numel() for shape in self.shapes])
        return {
            name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }


@dataclass(frozen=True)
class TrainState:
    """The state of one trial. A step updates its tensors in place: it owns them.

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
        return replace(
            self,
            parameters=self.parameters.clone(),
            moments={name: value.clone() for name, value in self.moments.items()},
            buffers={name: value.clone() for name, value in self.buffers.items()},
            step=self.step.clone(),
        )


def flatten(network: nn.Module) -> Tensor:
    """A network's trainable parameters as one new vector, [P]."""
    return nn.utils.parameters_to_vector(network.parameters()).detach().clone()
