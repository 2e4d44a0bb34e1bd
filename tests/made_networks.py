"""Small networks for the tests, of a size that the normalization is defined for."""

from benchmark.errors import InputError
from benchmark.variants.network import ConvNet, Mlp, MlpSpec, NetworkSpec, Variant, initialize

IMAGE_SHAPE = (1, 8, 8)
NUM_CLASSES = 4
_SIZES = (6, 12, 15, 20, 30, 40, 60)  # group normalization wants multiples of its number of groups


def fitting_spec(normalization, family="cnn", **options):
    """The smallest network that a normalization is defined for; None if there is none."""
    for size in _SIZES:
        if family == "cnn":
            spec, build = NetworkSpec(blocks=3, width=size, **options), ConvNet
        else:
            spec, build = MlpSpec(depth=3, units=size, **options), Mlp
        try:
            build(spec, Variant(normalization, "relu"), IMAGE_SHAPE, NUM_CLASSES)
        except InputError:
            continue
        return spec
    return None


def make_network(normalization, activation="relu", *, seed=0, num_steps=1000, family="cnn", **options):
    """An initialized network of that size."""
    spec = fitting_spec(normalization, family, **options)
    build = ConvNet if family == "cnn" else Mlp
    network = build(spec, Variant(normalization, activation), IMAGE_SHAPE, NUM_CLASSES, num_steps)
    initialize(network, seed)
    return network
