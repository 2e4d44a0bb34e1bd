"""What can be compared, and what the studies cost, as tables for people: every entry of the registries."""

from benchmark.study.files import load_studies, shipped_studies
from benchmark.study.plan import stage_sizes
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.networks import NetworkSpec, build_network
from benchmark.variants.norms import NORMALIZATIONS
from benchmark.variants.variant import Variant

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


def costs() -> str:
    """Trials and optimizer steps of the full studies as a Markdown table, small forms aside.

    At most: where the data decide, what `plan` calls a bound; without extensions of the grid.
    """
    rows = ["| study | trials | optimizer steps |", "|---|---|---|"]
    for name in sorted(shipped_studies()):
        if name.endswith("small") or name == "smoke":
            continue
        trials = steps = 0
        for study in load_studies(name):
            planned = sum(size.num_trials for size in stage_sizes(study))
            trials += planned
            steps += planned * study.budget.num_steps
        rows.append(f"| `{name}` | {trials:,d} | {steps:,d} |")
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
    print(f"{markdown()}\n{costs()}", end="")
