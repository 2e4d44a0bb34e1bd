"""The findings: one page from exported studies, every word of which follows from the verdicts."""

import dataclasses
from itertools import combinations

import pandas as pd
import pytest
from running import main_of
from synthetic_results import make_results

from analysis.claims import CLAIMS, NOT_EVALUABLE, OUTCOMES, judge_outcomes
from analysis.data import exported
from analysis.findings import _asked, _content, compose, page_of
from analysis.replications import effect_words, interval_words

README = "# A title\n\n<!-- answer -->\nof before\n<!-- /answer -->\n\nThe rest.\n"


def export(folder, name, *, first=0, status="complete", **changes):
    made = make_results(**{"activations": ("sigmoid", "relu"), "with_probes": True} | changes)
    seeds = made.study["seeds"] | {"first": first}
    study = made.study | {"name": name, "seeds": seeds}
    exported.write(dataclasses.replace(made, study=study, status=status), folder / "data" / name)


def written(folder, *more):
    """The page, after `python -m analysis findings`."""
    words = ("findings", "--data", "data", "--out", "docs/findings.md", *more)
    code, _, errors = main_of("analysis", folder, *words)
    assert code == 0, errors
    return (folder / "docs" / "findings.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two data sets, the smaller one replicated with another outcome, and the source's own experiment."""
    folder = tmp_path_factory.mktemp("findings")
    (folder / "docs").mkdir()
    export(folder, "quick")
    export(folder, "quick-replication-1", first=8, edges={"batch-relu": -0.6}, rng=1)
    export(folder, "cifar100-small", rng=2, edges={"batch-relu": 0.9})
    export(folder, "notebook-small", sampler="fixed", confirm_seeds=0, rng=3)
    (folder / "README.md").write_text(README)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return written(folder, "--readme", "README.md")


def test_every_verdict_stands_on_the_page_with_its_numbers(folder, page):
    for name, data in (("quick", "8x8 digits"), ("cifar100-small", "CIFAR-100")):
        for verdict in judge_outcomes(exported.read(folder / "data" / name)):
            row = f"| {data} | {verdict.activation} | **{verdict.outcome}**"
            section = page.split(f"\n### {verdict.claim}\n")[1].split("\n### ")[0]
            (line,) = [line for line in section.splitlines() if line.startswith(row)]
            if verdict.n:
                assert f"| {effect_words(verdict)} | {interval_words(verdict)} | {verdict.n} |" in line


def test_the_largest_data_set_leads(folder, page):
    head = page.split("## ")[0]
    assert "**On CIFAR-100**" in head
    assert "8x8 digits" not in head
    verdicts = judge_outcomes(exported.read(folder / "data" / "cifar100-small"))
    judged = [v for v in verdicts if v.claim == "higher-learning-rate" and v.n]
    assert judged
    for verdict in judged:
        assert f"{verdict.activation} net" in head
        assert effect_words(verdict) in head


def test_what_was_not_run_is_said_and_nothing_else_is(page):
    assert "Not run yet, so not on this page: `fashion-mnist-small` (Fashion-MNIST)." in page


def test_replications_are_counted(page):
    section = page.split("\n### higher-learning-rate\n")[1].split("\n### ")[0]
    digits, cifar = (
        next(line for line in section.splitlines() if line.startswith(f"| {data} | relu"))
        for data in ("8x8 digits", "CIFAR-100")
    )
    assert "| 0 of 1 |" in digits
    assert "| – |" in cifar
    assert "a replication found otherwise" in page.split("## The source's five statements")[0]


def test_the_sources_own_networks_have_their_numbers(folder, page):
    results = exported.read(folder / "data" / "notebook-small")
    table = page.split("## The source's own experiment")[1].split("\n## ")[0]
    for variant, own in results.trials.groupby("variant"):
        (line,) = [line for line in table.splitlines() if line.startswith(f"| {variant} |")]
        assert f"| {len(own)} |" in line
        mean = own["final_val_accuracy"].mean()
        assert f"| {mean:.3g} (" in line


def test_the_table_has_every_verdict(folder, page):
    frame = pd.read_csv(folder / "docs" / "findings" / "verdicts.csv")
    assert set(frame["study"]) == {"quick", "cifar100-small", "notebook-small"}
    assert len(frame) == 3 * len(judge_outcomes(exported.read(folder / "data" / "quick")))
    row = frame.set_index(["study", "claim", "activation"]).loc[("quick", "higher-learning-rate", "relu")]
    assert (row["replications_that_agree"], row["replications"]) == (0, 1)


def test_every_picture_that_the_page_links_is_there(folder, page):
    linked = {part.split(")")[0] for part in page.split("](")[1:] if part.split(")")[0].endswith(".png")}
    assert "findings/rate-response.png" in linked
    assert linked == {f"findings/{path.name}" for path in (folder / "docs" / "findings").glob("*.png")}


def test_the_readme_opens_with_the_answer(folder, page):
    text = (folder / "README.md").read_text()
    assert text.startswith("# A title\n\n<!-- answer -->\n**On CIFAR-100**")
    assert text.endswith("<!-- /answer -->\n\nThe rest.\n")
    assert "of before" not in text
    assert "](docs/findings/rate-response.png)" in text
    assert "](docs/findings.md)" in text


def test_other_verdicts_choose_other_words(tmp_path):
    export(tmp_path, "quick", edges={"batch-relu": -1.2, "none-relu": -1.2, "batch-sigmoid": -1.2})
    content, _ = compose(tmp_path / "data", "findings")
    text = page_of(content)
    statement = text.split("### 3. ")[1].split("### 4. ")[0]
    assert "refuted" in statement
    assert "Do not count on higher learning rates." in text


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("quick", "incomplete", "data/quick: expected a complete study, found one that is incomplete"),
        ("another", "complete", "data: expected an export of one of quick, "),
    ],
)
def test_what_there_is_nothing_to_say_of_is_one_line(tmp_path, name, status, said):
    export(tmp_path, name, status=status, activations=("relu",), with_probes=False)
    code, _, errors = main_of("analysis", tmp_path, "findings", "--data", "data", "--out", "findings.md")
    assert code == 2
    assert errors.startswith(f"error: {said}")
    assert len(errors.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_readme_without_marks_is_refused_and_left(folder, page, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# Mine\n")
    words = ("--data", str(folder / "data"), "--out", str(tmp_path / "findings.md"), "--readme", str(readme))
    code, _, errors = main_of("analysis", tmp_path, "findings", *words)
    assert (code, "add the marks" in errors) == (2, True)
    assert readme.read_text() == "# Mine\n"
    assert list(tmp_path.iterdir()) == [readme]


def test_every_combination_of_verdicts_has_an_answer():
    judged = [outcome for outcome in OUTCOMES if outcome != NOT_EVALUABLE]
    wanted = {frozenset(some) for n in range(4) for some in combinations(judged, n)}
    assert set(_content.ANSWERS) == wanted


def test_the_words_are_about_claims_that_there_are():
    assert set(_asked.READINGS) == set(CLAIMS)
    asked = {part.claim for statement in _asked.STATEMENTS for part in statement.parts}
    assert asked | {one.claim for one in (*_asked.PAPERS, *_asked.ADVICE)} <= set(CLAIMS)
    assert len(_asked.STATEMENTS) == 5
    for advice in _asked.ADVICE:
        assert set(advice.by_outcome) == set(OUTCOMES)
    for paper in _asked.PAPERS:
        assert set(paper.reasons) == set(OUTCOMES) - {NOT_EVALUABLE}
