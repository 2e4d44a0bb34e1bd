"""What starts from data: LSUV's scale of each layer, and weight normalization's lengths and biases."""

import torch
from torch import Tensor, nn

from benchmark.variants.networks.base import Network
from benchmark.variants.networks.units import Dense, Unit, scale_to_unit_variance


@torch.no_grad()
def start_from_data(network: Network, images: Tensor) -> None:
    """Set what starts from data, layer by layer, in one pass over images; in place.

    Running statistics stay as they were. Does nothing where nothing starts from data.

    Args:
        network: just initialized, with whatever gain: LSUV's scale and weight normalization's lengths are
            found from data after it, and undo it.
        images: [N, C, H, W], fixed training images.
    """
    if not network.starts_from_data:
        return
    unit_variance = network.initialization.unit_variance

    # Called with what enters a layer, when all layers before it are set.
    def before_unit(unit: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(unit, Unit)
        unit.start_from_data(inputs[0], unit_variance=unit_variance)

    def before_dense(dense: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(dense, Dense)
        if unit_variance:
            scale_to_unit_variance(dense, nn.functional.linear(inputs[0], dense.weight))

    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    hooks = [unit.register_forward_pre_hook(before_unit) for unit in network.hidden().values()]
    hooks.append(network.dense.register_forward_pre_hook(before_dense))
    network.train()  # normalize by the images' own statistics
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    for name, buffer in network.named_buffers():
        buffer.copy_(buffers[name])
