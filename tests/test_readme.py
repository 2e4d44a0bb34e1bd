"""The README says what is there."""

from pathlib import Path

from benchmark.cli import catalogue
from benchmark.study.files import shipped_studies

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_it_lists_every_variant_with_its_source_and_cost():
    shown = README.partition("<!-- catalogue -->\n")[2].partition("<!-- /catalogue -->")[0]
    assert shown == catalogue.markdown()


def test_it_says_how_many_trials_and_steps_the_studies_take():
    shown = README.partition("<!-- costs -->\n")[2].partition("<!-- /costs -->")[0]
    assert shown == catalogue.costs()
    # quick: 4 variants x 6 rates x 8 seeds, 3 bisections of 32 edges, 4 best rates and 6 multiples x 8 seeds.
    trials = 192 + 96 + 80
    assert f"| `quick` | {trials} | {300 * trials:,d} |" in shown
    # depth: cifar100 at four depths.
    rows = dict(line.strip("| ").split(" | ", 1) for line in shown.splitlines()[2:])
    (trials, steps), (all_trials, all_steps) = (
        [int(number.replace(",", "")) for number in rows[f"`{name}`"].split(" | ")]
        for name in ("cifar100", "depth")
    )
    assert (all_trials, all_steps) == (4 * trials, 4 * steps)


def test_costs_are_those_of_the_notebooks_parameter_counts():
    # 414,560 trainable parameters with batch norm, 413,200 without.
    assert catalogue.extra_parameters("batch") == 414_560 - 413_200


def test_it_names_every_study():
    for name in shipped_studies():
        assert f"`{name.removesuffix('-small')}`" in README, name


def test_what_it_links_to_is_there():
    for target in ("docs/report.png", "docs/protocol.md", "docs/calibration.md"):
        assert f"({target})" in README
        assert (Path(__file__).parents[1] / target).is_file()
