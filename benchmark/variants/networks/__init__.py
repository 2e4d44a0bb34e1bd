"""The networks, a file per family. Add a family as one file here and one entry of `FAMILIES`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Union

import torch
from pydantic import Discriminator, Tag

from benchmark.base.errors import InputError
from benchmark.contract import BASELINE
from benchmark.variants.networks.base import FamilySpec, Network, Shape, initialize
from benchmark.variants.networks.cnn import ConvNet, NetworkSpec
from benchmark.variants.networks.mlp import Mlp, MlpSpec
from benchmark.variants.networks.resnet import ResNet, ResNetSpec
from benchmark.variants.variant import Variant

__all__ = [
    "FAMILIES",
    "AnyNetworkSpec",
    "FamilySpec",
    "MlpSpec",
    "Network",
    "NetworkFamily",
    "NetworkSpec",
    "ResNetSpec",
    "build_network",
    "check_size",
    "initialize",
]


@dataclass(frozen=True)
class NetworkFamily:
    """One family of networks.

    Attributes:
        section: the `[network]` section of its studies; its `family` is the name here.
        build: (section, variant, (C, H, W), number of classes, number of steps) -> a network, its weights not
            yet initialized; raises InputError where there is none.
    """

    section: type[FamilySpec]
    build: Callable[[Any, Variant, Shape, int, int], Network]


FAMILIES: Mapping[str, NetworkFamily] = {
    "cnn": NetworkFamily(NetworkSpec, ConvNet),
    "mlp": NetworkFamily(MlpSpec, Mlp),
    "resnet": NetworkFamily(ResNetSpec, ResNet),
}


def _family(section: Any) -> str:
    """Which family a section is of: the convolutional one, unless it says otherwise."""
    family = section.get("family", "cnn") if isinstance(section, dict) else getattr(section, "family", None)
    return str(family)


if TYPE_CHECKING:
    AnyNetworkSpec = FamilySpec
else:
    _SECTIONS = tuple(Annotated[family.section, Tag(name)] for name, family in FAMILIES.items())
    AnyNetworkSpec = Annotated[Union[_SECTIONS], Discriminator(_family)]  # noqa: UP007


MOST_PARAMETERS = 250_000_000
"""Of a network; with gradient, momentum and copies some 4 GB. What is far larger ends its process."""


def check_size(spec: FamilySpec, image_shape: Shape, num_classes: int) -> None:
    """Refuse a network that no memory holds, without making one.

    Raises:
        InputError: it has too many parameters, or there is none.
    """
    with torch.device("meta"):  # shapes alone; the unnormalized one, of which others differ by little
        network = FAMILIES[_family(spec)].build(spec, Variant(BASELINE, "relu"), image_shape, num_classes, 1)
    found = sum(parameter.numel() for parameter in network.parameters())
    if found > MOST_PARAMETERS:
        raise InputError(
            f"network: expected at most {MOST_PARAMETERS:,d} parameters, found {found:,d} for images of "
            f"{image_shape[1]} x {image_shape[2]}: lower its width, or how many layers it has"
        )


def build_network(
    spec: FamilySpec,
    variant: Variant,
    image_shape: Shape,
    num_classes: int,
    num_steps: int,
    batch_size: int,
) -> Network:
    """The network that a study trains, its weights not yet initialized.

    Raises:
        InputError: the variant has no definition for this network, these images or this batch size, or its
            output would be the same for every image.
    """
    network = FAMILIES[_family(spec)].build(spec, variant, image_shape, num_classes, num_steps)
    network.check(batch_size)
    return network
