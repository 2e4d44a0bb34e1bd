"""What can be compared, as tables for people: every entry of the registries, its source and cost."""

from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.network import NetworkSpec, Variant, build_network
from benchmark.variants.norms import NORMALIZATIONS

# The notebook's network on CIFAR-100, by which costs are stated.
_IMAGE_SHAPE, _NUM_CLASSES, _BATCH_SIZE, _NUM_STEPS = (3, 32, 32), 100, 80, 40_000


def extra_parameters(normalization: str) -> int:
    """Trainable parameters that a normalization adds to the notebook's network."""
    return _num_parameters(normalization) - _num_parameters("none")


def markdown() -> str:
    """Both registries as Markdown tables: normalizations, then activations."""
    rows = ["| normalization | what it does | source | parameters added |", "|---|---|---|---|"]
    rows += [
        f"| `{name}` | {entry.description} | {entry.source} | {extra_parameters(name):+,d} |"
        for name, entry in NORMALIZATIONS.items()
    ]
    rows += ["", "| activation | what it is | source |", "|---|---|---|"]
    rows += [f"| `{name}` | {entry.description} | {entry.source} |" for name, entry in ACTIVATIONS.items()]
    return "\n".join(rows) + "\n"


def _num_parameters(normalization: str) -> int:
    network = build_network(
        NetworkSpec(),
        Variant(normalization, "relu"),
        _IMAGE_SHAPE,
        _NUM_CLASSES,
        num_steps=_NUM_STEPS,
        batch_size=_BATCH_SIZE,
    )
    return sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    print(markdown(), end="")
