"""What can be compared, and what the studies cost, as tables for people: every entry of the registries."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.base.errors import InputError
from benchmark.contract import BASELINE
from benchmark.study.files import load_studies, shipped_studies
from benchmark.study.plan import stage_sizes
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.networks import FamilySpec, NetworkSpec, ResNetSpec, build_network
from benchmark.variants.norms import NORMALIZATIONS
from benchmark.variants.variant import Variant

# The notebook's network on CIFAR-100, by which costs are stated, and the one for what needs shortcuts.
_NETWORKS: Mapping[str, FamilySpec] = {"": NetworkSpec(), "ResNet-20": ResNetSpec()}
_IMAGE_SHAPE, _NUM_CLASSES, _BATCH_SIZE, _NUM_STEPS = (3, 32, 32), 100, 80, 40_000


def extra_parameters(normalization: str) -> tuple[int, str]:
    """Trainable parameters that a normalization adds to the first of the networks that can have it.

    Returns:
        how many, and the network's name, empty for the notebook's.
    """
    for name, spec in _NETWORKS.items():
        try:
            own = _num_parameters(spec, normalization)
        except InputError:
            continue
        return own - _num_parameters(spec, BASELINE), name
    raise InputError(
        f"normalization {normalization!r}: expected one that a network by which costs are stated can have, "
        "found none: add such a network to _NETWORKS"
    )


def markdown() -> str:
    """Both registries as Markdown tables: normalizations, then activations."""
    rows = ["| normalization | what it does | source | parameters added |", "|---|---|---|---|"]
    for name, entry in NORMALIZATIONS.items():
        count, network = extra_parameters(name)
        where = f" ({network})" if network else ""
        rows.append(f"| `{name}` | {entry.description} | {entry.source} | {count:+,d}{where} |")
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


def with_tables(text: str) -> str:
    """A document with the tables between its marks (`<!-- costs -->`, `<!-- catalogue -->`) made anew.

    Raises:
        InputError: it has neither mark, or one that nothing closes.
    """
    tables = {"costs": costs, "catalogue": markdown}
    marked = [mark for mark in tables if f"<!-- {mark} -->" in text]
    if not marked or any(f"<!-- /{mark} -->" not in text for mark in marked):
        raise InputError(
            "expected a table between <!-- costs --> and <!-- /costs --> (or of `catalogue`), found none: "
            "add the marks"
        )
    for mark in marked:
        start, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
        before, _, rest = text.partition(start)
        text = before + start + tables[mark]() + end + rest.partition(end)[2]
    return text


def _num_parameters(spec: FamilySpec, normalization: str) -> int:
    network = build_network(
        spec,
        Variant(normalization, "relu"),
        _IMAGE_SHAPE,
        _NUM_CLASSES,
        num_steps=_NUM_STEPS,
        batch_size=_BATCH_SIZE,
    )
    return sum(parameter.numel() for parameter in network.parameters())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, or write them into a document that has their marks."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.cli.catalogue", description=__doc__)
    parser.add_argument("--write", metavar="FILE", type=Path, help="put the tables into this Markdown file")
    path: Path | None = parser.parse_args(arguments).write
    if path is None:
        print(f"{markdown()}\n{costs()}", end="")
    else:
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
