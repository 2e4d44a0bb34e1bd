"""A network whose tensors are those of a training state, so that a step need not hand them over.

Shapes: R replicas of one network, rows of a state; P parameters of one.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from benchmark.training.state import Layout, TrainState
from benchmark.variants.networks import Network
from benchmark.variants.wide import widen


class BoundNetwork:
    """R replicas of a network side by side, bound to a state of R rows.

    Args:
        network: of one replica; untouched.
        layout: of its parameters.
        num_rows: R.
        channels_last: whether maps lie in memory position by position.

    Attributes:
        module: the network, in training mode.
        parameters: its parameters, in the layout's order.
        num_rows: R.
    """

    def __init__(self, network: Network, layout: Layout, num_rows: int, channels_last: bool) -> None:
        self.module = widen(network, num_rows, channels_last=channels_last).train()
        self.parameters = tuple(self.module.parameters())
        self.num_rows = num_rows
        self._layout = layout
        self._copies: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._owners = {name: owner_of(self.module, name) for name, _ in self.module.named_buffers()}

    def bind(self, state: TrainState) -> None:
        """Make a state's tensors the network's: a step on one is a step on the other.

        Buffers are the state's own. So are the parameters of a single replica; those of several lie apart in
        the state, and `refresh` copies them.
        """
        views = list(self._layout.split(state.parameters).values())
        own = [parameter.detach() for parameter in self.parameters]
        if self.num_rows == 1:
            for parameter, view in zip(self.parameters, views, strict=True):
                parameter.data = view[0]
        else:
            self._copies = [p.view(view.shape) for p, view in zip(own, views, strict=True)], views
        for name, buffer in self.buffers(state).items():
            owner, attribute = self._owners[name]
            setattr(owner, attribute, buffer)

    def refresh(self) -> None:
        """See the parameters that the state has now."""
        mine, theirs = self._copies
        if mine:
            torch._foreach_copy_(mine, theirs)

    def buffers(self, state: TrainState) -> dict[str, Tensor]:
        """A state's buffers as the network has them."""
        return {name: self.wide(value) for name, value in state.buffers.items()}

    def tensors(self, state: TrainState) -> Mapping[str, Tensor]:
        """A state's parameters and buffers as the network has them."""
        parameters = self._layout.split(state.parameters)
        return {name: self.wide(value) for name, value in parameters.items()} | self.buffers(state)

    def wide(self, rows: Tensor) -> Tensor:
        """[R, S, ...] -> [R S, ...]; of a single replica [S, ...]."""
        if self.num_rows == 1:
            return rows[0]
        return rows if rows.dim() == 1 else rows.flatten(0, 1)


def owner_of(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that has a tensor of this dotted name, and what it calls it."""
    path, _, attribute = name.rpartition(".")
    return module.get_submodule(path), attribute
