"""R replicas of a network side by side in one: its row r computes what the network would with r's tensors.

Shapes: B examples of a batch, R replicas, C channels of one of them, H x W positions.

Maps are [B, R C, H, W], replica by replica. Every layer has R times its channels: a convolution is grouped, a
dense layer is a batch of products, normalizations, being per channel, group or example of a replica, are the
same operation on more channels. Nothing that one replica computes is read by another.

Nor does a replica's rounding depend on the others, so long as no kernel treats some channels apart: those
that sum along positions take channels by several vectors of the processor, and what is left over otherwise.
Layers of which that cannot be said are computed replica by replica.
"""

import copy
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmark.variants.layers.batchwise import BatchNorm2d, Noise, NoisyBatchNorm2d
from benchmark.variants.layers.weights import WeightNorm, WeightStandardization
from benchmark.variants.networks.base import Network
from benchmark.variants.networks.units import Unit

VECTOR = 16
"""float32 numbers in the widest vector of a processor."""

LEAST_ROWS = 2
"""Replicas that a wide network has at least: a convolution of one group is another kernel."""

SAME_OPERATION: Mapping[type[nn.Module], tuple[str, ...]] = {
    nn.Identity: (),
    Noise: (),
    BatchNorm2d: ("num_features",),
    NoisyBatchNorm2d: ("num_features",),
    nn.GroupNorm: ("num_groups", "num_channels"),
    WeightNorm: (),
    WeightStandardization: (),
}
"""Layers that are the same operation on R times the channels, and which of their numbers grow R times."""


def widen(network: Network, num_rows: int, *, channels_last: bool = False) -> Network:
    """R replicas of a network as one.

    Args:
        network: what each of them is; untouched.
        num_rows: R.
        channels_last: whether maps lie in memory position by position.

    Returns:
        A network with parameters and buffers of the same names, each [R S, ...] where the network's is
        [S, ...] (a scalar's is [R]), of no particular value; of R = 1 a copy. It takes images [B, R C, H, W],
        masks and noise of R F channels, and gives logits [B, R K].
    """
    wide = copy.deepcopy(network)
    wide.num_rows = num_rows
    for unit in wide.hidden().values():
        unit.channels_last = channels_last
    if num_rows == 1:
        return wide
    for unit in wide.hidden().values():
        _widen_unit(unit, num_rows)
    _repeat_tensors(wide.dense, num_rows)
    return wide


def _widen_unit(unit: Unit, num_rows: int) -> None:
    _repeat_tensors(unit.layer, num_rows)
    if unit.reparametrization is not None:
        _widen_layer(unit.reparametrization, num_rows, channel_dim=0)
    _widen_layer(unit.norm, num_rows, channel_dim=1)
    if any(True for _ in unit.activation.parameters()):  # others are elementwise
        _widen_layer(unit.activation, num_rows, channel_dim=1)
    if unit.residual_scale is not None:
        unit.residual_scale = nn.Parameter(unit.residual_scale.detach().repeat(num_rows))


def _widen_layer(layer: nn.Module, num_rows: int, channel_dim: int) -> None:
    """A layer of maps (`channel_dim` 1) or of weights (0) as R of it; in place."""
    sizes = SAME_OPERATION.get(type(layer))
    if sizes is None:
        plain = copy.deepcopy(layer)
        layer.forward = partial(_each_row, layer, plain, num_rows, channel_dim)
    if isinstance(layer, BatchNorm2d):
        layer.vector = VECTOR
    for name in sizes or ():
        setattr(layer, name, getattr(layer, name) * num_rows)
    _repeat_tensors(layer, num_rows)


def _repeat_tensors(layer: nn.Module, num_rows: int) -> None:
    for module in layer.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(_repeated(parameter.detach(), num_rows)))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, _repeated(buffer, num_rows))


def _repeated(tensor: Tensor, num_rows: int) -> Tensor:
    """[S, ...] -> [R S, ...]; a scalar -> [R]."""
    return tensor.repeat(num_rows, *[1] * (tensor.dim() - 1))


def _each_row(
    wide: nn.Module, plain: nn.Module, num_rows: int, channel_dim: int, x: Tensor, *noise: Tensor
) -> Tensor:
    """What `plain` gives of each replica's channels with its tensors; buffers are updated in place."""
    plain.train(wide.training)
    for name in vars(wide).keys() & {"momentum"}:  # what re-estimation sets
        setattr(plain, name, getattr(wide, name))
    shapes = {name: tensor.shape for name, tensor in (*plain.named_parameters(), *plain.named_buffers())}
    tensors = {
        name: tensor.view((num_rows, *shapes[name])).unbind()
        for name, tensor in (*wide.named_parameters(), *wide.named_buffers())
    }
    # Each replica's in one piece: strides, too, can decide the order of a sum.
    maps = [
        value.unflatten(channel_dim, (num_rows, -1)).movedim(channel_dim, 0).contiguous()
        for value in (x, *noise)
    ]
    return torch.cat(
        [
            functional_call(plain, {name: rows[row] for name, rows in tensors.items()}, tuple(own))
            for row, own in enumerate(zip(*maps, strict=True))
        ],
        channel_dim,
    )
