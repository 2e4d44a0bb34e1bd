"""Small networks for the tests, of a size that the normalization is defined for."""

import functools

from benchmark.base.errors import InputError
from benchmark.variants.networks.network import MlpSpec, NetworkSpec, Variant, build_network, initialize

IMAGE_SHAPE = (1, 8, 8)
NUM_CLASSES = 4
_SIZES = (6, 12, 15, 20, 30, 40, 60)  # group normalization wants multiples of its number of groups


def _build(spec, normalization, activation="relu", num_steps=1000):
    return build_network(
        spec, Variant(normalization, activation), IMAGE_SHAPE, NUM_CLASSES, num_steps, batch_size=16
    )


def _spec(family, size, **options):
    if family == "cnn":
        return NetworkSpec(blocks=3, width=size, **options)
    return MlpSpec(depth=3, units=size, **options)


@functools.cache
def _fitting_size(normalization, family):
    for size in _SIZES:
        try:
            _build(_spec(family, size), normalization)
        except InputError:
            continue
        return size
    return None


def fitting_spec(normalization, family="cnn", **options):
    """The smallest network that a normalization is defined for; None if there is none."""
    size = _fitting_size(normalization, family)
    return None if size is None else _spec(family, size, **options)


def make_network(normalization, activation="relu", *, seed=0, num_steps=1000, family="cnn", **options):
    """An initialized network of that size."""
    spec = fitting_spec(normalization, family, **options)
    network = _build(spec, normalization, activation, num_steps)
    initialize(network, seed)
    return network
