"""Small networks for the tests, of a size that the normalization is defined for."""

import functools

from benchmark.base.errors import InputError
from benchmark.variants.networks import (
    FAMILIES,
    MlpSpec,
    NetworkSpec,
    ResNetSpec,
    build_network,
    initialize,
)
from benchmark.variants.variant import Variant

IMAGE_SHAPE = (1, 8, 8)
NUM_CLASSES = 4
BATCH_SIZE = 16
_SIZES = (6, 12, 15, 20, 30, 40, 60)  # group normalization wants multiples of its number of groups
_SPECS = {  # a small network of every family, of that size
    "cnn": lambda size, **options: NetworkSpec(blocks=3, width=size, **options),
    "mlp": lambda size, **options: MlpSpec(depth=3, units=size, **options),
    "resnet": lambda size, **options: ResNetSpec(blocks_per_stage=1, width=size, **options),
}


def _build(spec, normalization, activation="relu", num_steps=1000):
    variant = Variant(normalization, activation)
    return build_network(spec, variant, IMAGE_SHAPE, NUM_CLASSES, num_steps, BATCH_SIZE)


@functools.cache
def _fitting_size(normalization, family):
    for size in _SIZES:
        try:
            _build(_SPECS[family](size), normalization)
        except InputError:
            continue
        return size
    return None


def fitting_spec(normalization, family=None, **options):
    """The smallest network of a family that a normalization is defined for; None if there is none.

    Of no family: of the first in which there is one.
    """
    if family is None:
        family = next(name for name in FAMILIES if _fitting_size(normalization, name) is not None)
    size = _fitting_size(normalization, family)
    return None if size is None else _SPECS[family](size, **options)


def make_network(normalization, activation="relu", *, seed=0, num_steps=1000, family=None, **options):
    """An initialized network of that size."""
    spec = fitting_spec(normalization, family, **options)
    network = _build(spec, normalization, activation, num_steps)
    initialize(network, seed)
    return network
