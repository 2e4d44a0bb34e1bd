"""The README says what is there."""

from pathlib import Path

from benchmark import catalogue
from benchmark.study_files import shipped_studies

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_it_lists_every_variant_with_its_source_and_cost():
    shown = README.partition("<!-- catalogue -->\n")[2].partition("<!-- /catalogue -->")[0]
    assert shown == catalogue.markdown()


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
