"""R replicas of a network side by side in one: its row r computes what the network would with r's tensors.

Shapes: B examples of a batch, R replicas, C channels of one of them, H x W positions.

Maps are [B, R C, H, W], replica by replica. Every layer has R times its channels: a convolution is grouped, a
dense layer is a batch of products, normalizations, being per channel, group or example of a replica, are the
same operation on more channels. Nothing that one replica computes is read by another.

Nor does a replica's rounding depend on the others, so long as no kernel treats some channels apart: those
that run along the channels take them by whole vectors of the processor and what is left over one by one,
which rounds otherwise. `rows_for` says how many replicas leave nothing over.
"""

import copy
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call, vmap

from benchmark.variants.layers.batchwise import BatchNorm2d, BatchRenorm, MeanOnlyBatchNorm, NoisyBatchNorm2d
from benchmark.variants.layers.examplewise import ChannelLayerNorm, RmsNorm
from benchmark.variants.layers.weights import WeightNorm, WeightStandardization
from benchmark.variants.networks.base import Network
from benchmark.variants.networks.units import Unit

VECTOR = 16
"""float32 numbers in the widest vector of a processor."""

SAME_OPERATION: Mapping[type[nn.Module], tuple[str, ...]] = {
    nn.Identity: (),
    BatchNorm2d: ("num_features",),
    NoisyBatchNorm2d: ("num_features",),
    nn.InstanceNorm2d: ("num_features",),
    nn.GroupNorm: ("num_groups", "num_channels"),
    MeanOnlyBatchNorm: (),
    BatchRenorm: (),
    ChannelLayerNorm: ("num_rows",),
    RmsNorm: ("num_rows",),
    WeightNorm: (),
    WeightStandardization: (),
}
"""Layers that are the same operation on R times the channels, and which of their numbers grow R times.

Others, such as those of a normalization that someone adds, are computed replica by replica by `vmap`.
"""


def widen(network: Network, num_rows: int, *, channels_last: bool = False) -> Network:
    """R replicas of a network as one.

    Args:
        network: what each of them is; untouched.
        num_rows: R.
        channels_last: whether maps lie in memory position by position.

    Returns:
        A network with parameters and buffers of the same names, each [R S, ...] where the network's is
        [S, ...] (a scalar's is [R]), of no particular value; of R = 1 a copy. It takes images [B, R C, H, W],
        or [B, C, H, W] for all alike, masks and noise of R F channels, and gives logits [B, R K].
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


def rows_for(network: Network, num_rows: int) -> int:
    """Rows that a wide network needs for that no bit of `num_rows` of them depends on the others.

    At least two, as a convolution of one group is another kernel; and as many as make the channels of each
    layer whole vectors, where a normalization does not see to that itself.
    """
    multiple = 2
    for unit in network.hidden().values():
        if not isinstance(unit.norm, nn.Identity | nn.GroupNorm | BatchNorm2d):
            multiple = math.lcm(multiple, VECTOR // math.gcd(VECTOR, unit.place.num_channels))
    return -(-num_rows // multiple) * multiple


def _widen_unit(unit: Unit, num_rows: int) -> None:
    _repeat_tensors(unit.layer, num_rows)
    if unit.reparametrization is not None:
        _widen_layer(unit.reparametrization, num_rows, channel_dim=0)
    _widen_layer(unit.norm, num_rows, channel_dim=1)
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
    """What `plain` would give of each replica's channels with its tensors; buffers are updated in place."""
    own = {
        name: value.view(num_rows, *shape)
        for (name, value), shape in zip(
            [*wide.named_parameters(), *wide.named_buffers()],
            [tensor.shape for tensor in (*plain.parameters(), *plain.buffers())],
            strict=True,
        )
    }
    plain.train(wide.training)
    for name in vars(wide).keys() & {"momentum"}:  # what re-estimation sets
        setattr(plain, name, getattr(wide, name))

    def row(tensors: dict[str, Tensor], *maps: Tensor) -> Any:
        return functional_call(plain, tensors, maps)

    maps = [value.unflatten(channel_dim, (num_rows, -1)) for value in (x, *noise)]
    out: Tensor = vmap(row, in_dims=(0, *[channel_dim] * len(maps)), out_dims=channel_dim)(own, *maps)
    return out.flatten(channel_dim, channel_dim + 1)
