"""The README and the documents say what is there."""

import re
from pathlib import Path

import pytest

from benchmark.base.errors import InputError
from benchmark.cli import catalogue
from benchmark.study.files import shipped_studies

ROOT = Path(__file__).parents[1]
DOCUMENTS = {
    path.name: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))
}


@pytest.mark.parametrize("name", ["catalogue.md", "studies.md"])
def test_tables_are_the_registries(name):
    """Every variant with its source and cost, and how many trials and steps the studies take."""
    text, command = DOCUMENTS[name], f"python -m benchmark.cli.catalogue --write docs/{name}"
    assert catalogue.with_tables(text) == text, f"made anew by: {command}"


def test_the_tables_are_written_where_the_marks_are(tmp_path):
    path = tmp_path / "README.md"
    marks = "a\n<!-- costs -->\nold\n<!-- /costs -->\nb\n<!-- catalogue -->\n<!-- /catalogue -->\nc\n"
    path.write_text(marks)
    catalogue.main(["--write", str(path)])
    found = path.read_text()
    assert f"<!-- costs -->\n{catalogue.costs()}<!-- /costs -->\nb" in found
    assert f"<!-- catalogue -->\n{catalogue.markdown()}<!-- /catalogue -->\nc" in found
    assert "old" not in found
    assert catalogue.with_tables(found) == found
    with pytest.raises(InputError, match="expected a table between <!-- costs --> and"):
        catalogue.with_tables("no marks")


def test_costs_are_of_the_studies_own_plans():
    shown = catalogue.costs()
    # quick: 6 variants x 8 rates x 10 seeds, 2 bisections of 120 edges, 4 gains of 6 variants x 10 seeds, and
    # 6 best rates and 9 multiples x 10 seeds.
    trials = 480 + 240 + 240 + 150
    assert f"| `quick` | {trials:,d} | {200 * trials:,d} |" in shown
    # depth: cifar100 at four depths.
    rows = dict(line.strip("| ").split(" | ", 1) for line in shown.splitlines()[2:])
    (trials, steps), (all_trials, all_steps) = (
        [int(number.replace(",", "")) for number in rows[f"`{name}`"].split(" | ")]
        for name in ("cifar100", "depth")
    )
    assert (all_trials, all_steps) == (4 * trials, 4 * steps)


def test_costs_are_those_of_the_notebooks_parameter_counts():
    # 414,560 trainable parameters with batch norm, 413,200 without.
    assert catalogue.extra_parameters("batch") == (414_560 - 413_200, "")


def test_costs_of_what_needs_shortcuts_are_those_of_nine_blocks():
    assert catalogue.extra_parameters("none-skip-init") == (9, "ResNet-20")
    assert "| +9 (ResNet-20) |" in catalogue.markdown()


def test_every_study_is_named():
    for name in shipped_studies():
        assert f"`{name.removesuffix('-small')}`" in DOCUMENTS["studies.md"], name


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_linked_to_is_there(name):
    folder = ROOT if name == "README.md" else ROOT / "docs"
    for target in re.findall(r"\]\(([^):#]+)\)", DOCUMENTS[name]):
        assert (folder / target).exists(), target


def test_every_document_is_reached_from_the_readme():
    linked = set(re.findall(r"\]\((?:docs/)?([\w.-]+\.md)\)", DOCUMENTS["README.md"]))
    assert linked - {"CONTRIBUTING.md"} == DOCUMENTS.keys() - {"README.md"}
