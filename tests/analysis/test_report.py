"""The report: complete, self-contained, escaped, replaced as a whole or not at all."""

import dataclasses
import html
import html.parser
import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest
from synthetic_results import make_results

import analysis.report
from analysis.claims import CLAIMS, Verdict, judge, judge_against_competitors
from analysis.figures import FIGURES
from analysis.matrix import LETTERS
from analysis.measures import variant_table
from analysis.report import _figures, write
from analysis.report._figures import MAX_EMBEDDED_SVG_BYTES
from analysis.results import Results
from analysis.text import duration, interval, number, pvalue, share

VOID = {"meta", "br", "img", "line", "link", "hr", "input"}
HOSTILE = "<script>alert('x')</script>&|`_"


class Outline(html.parser.HTMLParser):
    """Checks that tags close in order; collects ids and links."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.ids, self.links, self.tags = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def outline(text: str) -> Outline:
    parser = Outline()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def results() -> Results:
    return make_results(seeds=6, confirm_seeds=6, num_bisections=2, with_probes=True, with_landscape=True)


@pytest.fixture(scope="module")
def verdicts(results: Results) -> list[Verdict]:
    return judge(results)


@pytest.fixture(scope="module")
def small() -> Results:
    return make_results(activations=("relu",), seeds=5, confirm_seeds=5)


@pytest.fixture(scope="module")
def folder(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reports") / "synthetic"
    assert write(results, out) == out / "report.html"
    return out


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is tested once, above; without it a report takes a second."""
    monkeypatch.setattr(analysis.report, "draw_all", lambda *_: list)


def test_everything_is_there(folder: Path) -> None:
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    figures = {f"figures/{name}.{kind}" for name in FIGURES for kind in ("svg", "png")}
    tables = {
        f"tables/{name}.csv"
        for name in (
            [
                "competitors",
                "matrix",
                "ranking",
                "variants",
                "rate-multiples",
                "times",
                "sensitivity",
                "moving-averages",
                "selection-shares",
                "selection-flips",
                "better-rates",
                "replications",
                "probe-cost",
                "cells",
            ]
        )
    }
    assert files == {"report.html", "report.md", "verdicts.json"} | figures | tables
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing left behind


def test_html_stands_alone(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = outline(text)
    assert len(text) < 6_000_000
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "@import" not in text
    for link in page.links:
        assert link.startswith(("#", "data:image/"))
        assert not link.startswith("#") or link[1:] in page.ids
    assert len(page.ids) == len(set(page.ids))
    assert sum(link.startswith("data:") for link in page.links) == len(FIGURES)


def test_the_answer_stands_first(verdicts: list[Verdict], folder: Path) -> None:
    text = html_text(folder)
    primary = next(claim.id for claim in CLAIMS.values() if claim.primary)
    for verdict in verdicts:
        assert verdict.sentence in text
        if verdict.claim == primary:
            assert text.index(verdict.sentence) < text.index("Contents" if "Contents" in text else "Verdicts")


def test_every_verdict_is_worded_and_coloured(verdicts: list[Verdict], folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    table = text[text.index('id="verdicts"') : text.index('id="claims"')]
    badges = re.findall(r'class="badge ([a-z-]+)">([A-Z ]+)<', table)
    assert [word for _, word in badges] == [verdict.outcome for verdict in verdicts]
    assert all(colour == word.lower().replace(" ", "-") for colour, word in badges)


def test_each_claim_has_its_section(verdicts: list[Verdict], folder: Path) -> None:
    page = outline((folder / "report.html").read_text(encoding="utf-8"))
    assert {f"claim-{verdict.claim}" for verdict in verdicts} <= set(page.ids)
    text = html_text(folder)
    for claim in CLAIMS.values():
        assert claim.statement in text
        assert claim.h0 in text


def test_reproduction_names_what_it_takes(results: Results, folder: Path) -> None:
    text = html_text(folder)
    for fact in (
        results.commit,
        results.study_hash,
        results.run_id,
        results.progress["command"],
        "5 min 02 s",
    ):
        assert fact in text
    for name, value in results.environment.items():
        assert name.startswith("git_") or name.replace("_", " ") in text
        assert str(value) in text or name == "git_dirty"


def test_the_probes_cost_is_stated_for_every_variant(results: Results, folder: Path) -> None:
    cost = html_text(folder).split("What the probes took")[1].split("Every cell")[0]
    for variant in results.variants:
        ended = results.trials[results.trials["variant"] == variant]
        share = ended["probe_seconds"].sum() / ended["train_seconds"].sum()
        assert re.search(rf"{variant} \S+ \S+ {100 * share:.1f}% {len(ended)} ", f"{cost} ")


def test_each_claim_states_its_family(folder: Path) -> None:
    text = html_text(folder)
    assert text.count("adjusted by Holm over 2 tests: ") == len(CLAIMS) - 1
    assert text.count("adjusted by Holm over 1 test: no-vanishing-gradient") == 1


def test_what_would_not_survive_all_tests_is_marked_in_both_forms(
    small: Results, no_figures: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = [dataclasses.replace(verdict, survives_holm_over_all=False) for verdict in judge(small)]
    monkeypatch.setattr(analysis.report, "judge", lambda _: marked)
    write(small, tmp_path / "report")
    markdown = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    table = markdown[markdown.index("## Verdicts") : markdown.index("## Claim by claim")]
    assert table.count("** †") == len(marked)
    assert "†: would not hold" in table
    assert html_text(tmp_path / "report").count("†") == len(marked) + 1


def test_the_moving_averages_have_a_section(folder: Path) -> None:
    text = html_text(folder)
    assert "The main claim on the relu net: SUPPORTED (" in text
    assert "## Training against test time" in (folder / "report.md").read_text(encoding="utf-8")


def test_nothing_is_folded_away(folder: Path) -> None:
    assert "details" not in outline((folder / "report.html").read_text(encoding="utf-8")).tags  # for print


def test_of_several_runs_the_report_says_which(small: Results, no_figures: None, tmp_path: Path) -> None:
    newest, older = small.run_id, "1" * 32
    of_newest = dataclasses.replace(small, run_ids=(newest, older))
    said = f"Run {newest} (study hash {small.study_hash}) is the newest of the 2 runs"
    text = strip_tags(write(of_newest, tmp_path / "a").read_text(encoding="utf-8"))
    assert said in text[: text.index("The main claim")]
    assert f"--run ID reads another: {older}" in text
    assert said in (tmp_path / "a" / "report.md").read_text(encoding="utf-8")
    of_older = dataclasses.replace(small, run_ids=(older, newest))
    assert f"Run {newest} (study hash {small.study_hash}) is one of the 2 runs" in of_older.which_run
    assert dataclasses.replace(small, run_ids=(newest,)).which_run == ""


def test_another_optimizer_has_a_row_or_the_command_that_makes_one(
    small: Results, no_figures: None, tmp_path: Path
) -> None:
    command = "python -m benchmark run synthetic --set optimizer.name=rmsprop"
    without = strip_tags(write(small, tmp_path / "a").read_text(encoding="utf-8"))
    assert command in without
    assert f"\n    {command}\n" in (tmp_path / "a" / "report.md").read_text(encoding="utf-8")
    study = small.study | {"optimizer": {"name": "rmsprop", "rho": 0.9}}
    sibling = dataclasses.replace(small, study=study, study_hash="89abcdef")
    write(dataclasses.replace(small, siblings=(sibling,)), tmp_path / "b")
    text = html_text(tmp_path / "b")
    assert command not in text
    assert "optimizer rmsprop instead of sgd (study hash 89abcdef)" in text


def test_tables_keep_full_precision(results: Results, folder: Path) -> None:
    read = pd.read_csv(folder / "tables" / "variants.csv")
    expected = variant_table(results)
    pd.testing.assert_series_equal(read["accuracy_mean"], expected["accuracy_mean"], rtol=1e-15)
    assert list(read["variant"]) == results.variants


def test_verdicts_json_is_strict_json(verdicts: list[Verdict], folder: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (folder / "verdicts.json").read_text(encoding="utf-8")
    document = json.loads(text, parse_constant=refuse)
    assert [v["outcome"] for v in document["verdicts"]] == [v.outcome for v in verdicts]


def test_markdown_tables_are_whole_and_figures_exist(folder: Path) -> None:
    text = (folder / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((figures/[^)]+)\)", text)
    assert len(links) == 2 * len(FIGURES)
    assert all((folder / link).is_file() for link in links)
    for table in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


def test_two_reports_of_the_same_results_are_the_same(
    small: Results, no_figures: None, tmp_path: Path
) -> None:
    first = write(small, tmp_path / "a").read_bytes()
    assert write(small, tmp_path / "b").read_bytes() == first


def test_figures_drawn_in_other_processes_are_the_same(
    small: Results, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(small, tmp_path / "here")
    monkeypatch.setattr(_figures, "MANY_VARIANTS", 1)
    monkeypatch.setattr(_figures, "num_cores", lambda: 2)
    monkeypatch.setattr(_figures, "save", None)  # here: what is drawn beside does not see it
    write(small, tmp_path / "beside")
    here, beside = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "here", tmp_path / "beside")
    )
    assert here == beside


def test_an_error_in_another_process_is_told_and_leaves_nothing(
    small: Results, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_figures, "MANY_VARIANTS", 1)
    monkeypatch.setattr(_figures, "num_cores", lambda: 2)
    broken = dataclasses.replace(FIGURES["ranking"], draw=math.sqrt)  # of a frame
    monkeypatch.setitem(FIGURES, "ranking", broken)
    with pytest.raises(TypeError):
        write(small, tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("cores", "num_variants"), [(1, 100), (8, 4)])
def test_figures_are_drawn_here_where_other_processes_gain_nothing(
    cores: int, num_variants: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_figures, "num_cores", lambda: cores)
    with _figures.painting(num_variants) as painters:
        assert painters is None


def test_large_figures_are_embedded_as_png(tmp_path: Path) -> None:
    svg, png = tmp_path / "x.svg", tmp_path / "x.png"
    png.write_bytes(b"png")
    svg.write_bytes(b"s" * MAX_EMBEDDED_SVG_BYTES)
    assert _figures._embed(svg, png).startswith("data:image/svg+xml;")
    svg.write_bytes(b"s" * (MAX_EMBEDDED_SVG_BYTES + 1))
    assert _figures._embed(svg, png) == "data:image/png;base64,cG5n"


def test_nothing_from_a_study_reaches_the_page_unescaped(
    small: Results, no_figures: None, tmp_path: Path
) -> None:
    hostile = dataclasses.replace(
        small,
        study=small.study | {"name": HOSTILE, "data": small.study["data"] | {"dataset": HOSTILE}},
        environment=small.environment | {"cpu": HOSTILE},
        progress=small.progress | {"command": HOSTILE},
    )
    text = write(hostile, tmp_path / "report").read_text(encoding="utf-8")
    assert "script" not in outline(text).tags
    assert "&lt;script&gt;" in text
    markdown = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    prose = "\n".join(line for line in markdown.splitlines() if not line.startswith("    "))  # not code
    assert "<script>" not in prose


def test_an_unfinished_study_says_what_is_missing(small: Results, no_figures: None, tmp_path: Path) -> None:
    sweep = small.trials[small.trials["stage"] == "sweep"].reset_index(drop=True)
    trials = sweep.assign(status=["running", "failed", *sweep["status"][2:]])
    planned = {"sweep": len(sweep) + 10, "refine": None, "confirm": None}
    unfinished = dataclasses.replace(
        small,
        status="running",
        trials=trials,
        decisions={key: small.decisions[key] for key in ("num_classes", "loss_cap")},
        progress=small.progress | {"planned": planned},
    )
    text = strip_tags(write(unfinished, tmp_path / "report").read_text(encoding="utf-8"))
    assert f"sweep: {len(sweep) - 2} of {len(sweep) + 10} trials ended" in text
    assert "refine: not planned yet" in text
    assert "1 trial failed" in text
    assert "1 trial running" in text
    assert "still running" in text


def test_a_study_of_which_nothing_is_there_yet_has_a_report(small: Results, tmp_path: Path) -> None:
    nothing = dataclasses.replace(
        small,
        status="running",
        trials=small.trials.iloc[:0],
        curves=small.curves.iloc[:0],
        probes=small.probes.iloc[:0],
        decisions={},
        progress={},
    )
    text = strip_tags(write(nothing, tmp_path / "report").read_text(encoding="utf-8"))
    assert "no trial has ended yet" in text
    assert "python -m benchmark run synthetic" in text


def test_validation_on_test_is_said_at_the_top(no_figures: None, tmp_path: Path) -> None:
    notebook = make_results(seeds=2, sampler="fixed")
    text = strip_tags(write(notebook, tmp_path / "report").read_text(encoding="utf-8"))
    assert "validates on the test split" in text[: text.index("The main claim")]
    assert "validates on the test split" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")


def test_a_schedule_is_said_where_there_is_one(no_figures: None, tmp_path: Path) -> None:
    for schedule, words in (
        ({"name": "constant"}, "steps of sgd at batch size 64"),
        (
            {"name": "warmup", "share": 0.05},
            "steps of sgd under the schedule warmup (warm-up: 0.05 of them) at batch size 64",
        ),
    ):
        results = make_results(seeds=2, sampler="fixed")
        results = dataclasses.replace(results, study=results.study | {"schedule": schedule})
        write(results, tmp_path / "report")
        assert words in html_text(tmp_path / "report")


def test_a_study_at_one_rate_shows_its_cells_and_no_empty_tables(no_figures: None, tmp_path: Path) -> None:
    write(make_results(seeds=2, sampler="fixed"), tmp_path / "report")
    text = html_text(tmp_path / "report")
    assert "trains at one learning rate, as its source did" in text
    assert "none of the claims with other choices can be judged on this study" in text
    numbers = text.split("The variants in numbers")[-1].split("More figures")[0]
    assert numbers.count(" sweep 0.001 2 ") == 4
    assert "optimizer.name=" not in text


def test_competitors_have_a_matrix_of_their_own(no_figures: None, tmp_path: Path) -> None:
    results = make_results(
        activations=("relu",), normalizations=("none", "batch", "none-he"), seeds=6, confirm_seeds=6
    )
    page = write(results, tmp_path / "report").read_text(encoding="utf-8")
    against = judge_against_competitors(results)["none-he"]
    matrix = page[page.index("batch against competitors, relu nets") : page.index('id="verdicts"')]
    cells = re.findall(r'<span title="([^"]+)">([a-z/]+)</span>', matrix)
    expected = [(one.sentence, LETTERS[one.outcome]) for one in against]
    assert [(html.unescape(sentence), letters) for sentence, letters in cells] == expected
    assert "none-he *" in matrix
    assert "batch against competitors, relu nets" in (tmp_path / "report" / "report.md").read_text()
    table = pd.read_csv(tmp_path / "report" / "tables" / "competitors.csv")
    assert table["claim"].tolist() == [one.claim for one in against]
    assert set(table["against"]) == {"none-he"}
    assert table["exploratory"].all()


def test_an_untrainable_baseline_and_an_edge_optimum_are_said_at_the_top(
    no_figures: None, tmp_path: Path
) -> None:
    results = make_results(seeds=2, confirm_seeds=2, untrainable={"none-sigmoid"}, edges={"batch-relu": 3.0})
    text = strip_tags(write(results, tmp_path / "report").read_text(encoding="utf-8"))
    head = text[: text.index("The main claim")]
    assert "steps: none-sigmoid. Such a net has no best rate" in head
    assert "on the edge of the range tried: batch-relu." in head


def test_a_crash_leaves_the_old_report(
    small: Results, no_figures: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report"
    before = write(small, out).read_bytes()
    (out / "stale.txt").write_text("from before")

    def crash(content: object) -> str:
        raise RuntimeError("boom")

    with monkeypatch.context() as broken:
        broken.setattr(analysis.report, "render_markdown", crash)
        with pytest.raises(RuntimeError, match="boom"):
            write(small, out)
    assert (out / "report.html").read_bytes() == before
    assert (out / "stale.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]

    write(small, out)
    assert not (out / "stale.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (0.12345, "0.123"),
        (-2.0, "−2"),
        (1e-5, "1e−5"),
        (2404.0, "2400"),
        (1.5e7, "1.5e7"),
        (12, "12"),
        (True, "yes"),
    ],
)
def test_numbers(value: object, text: str) -> None:
    assert number(value) == text


def test_other_formats() -> None:
    assert interval(math.nan, math.nan) == "–"
    assert interval(-math.inf, math.inf) == "unbounded"
    assert interval(-math.inf, 1.5) == "[−∞,\N{NO-BREAK SPACE}1.5]"
    assert share(0.625) == "62%"
    assert pvalue(0.0004) == "< 0.001"
    assert pvalue(0.0078) == "0.008"
    assert [duration(seconds) for seconds in (4.21, 301.5, 7260)] == ["4.2 s", "5 min 02 s", "2 h 01 min"]
    assert duration(None) == "–"


def html_text(folder: Path) -> str:
    return strip_tags((folder / "report.html").read_text(encoding="utf-8"))


def strip_tags(text: str) -> str:
    body = text[text.index("<body>") :]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_seeds_that_were_searched_are_named_where_no_verdict_says_it(
    no_figures: None, tmp_path: Path
) -> None:
    made = make_results(activations=("relu",), seeds=5, confirm_seeds=5, untrainable=("none-relu",))
    decided = made.decisions["variants"]
    searched = decided | {"batch-relu": decided["batch-relu"] | {"searched_seeds": [3]}}
    made = dataclasses.replace(made, decisions=made.decisions | {"variants": searched})
    page = write(made, tmp_path / "report")
    for text in (page.read_text(), page.with_suffix(".md").read_text()):
        assert text.count("batch-relu trained under seed 3, but stably at no rate of the grid") == 1


def test_a_better_rate_is_said_in_the_sections_of_the_claims_at_the_best_rate(
    small: Results, no_figures: None, tmp_path: Path
) -> None:
    refined = small.trials["stage"] == "refine"
    better = small.trials.assign(final_val_loss=small.trials["final_val_loss"].where(~refined, 0.001))
    page = write(dataclasses.replace(small, trials=better), tmp_path / "report")
    text = page.with_suffix(".md").read_text()
    assert text.count("refinement came upon a better rate than the grid's best") == 3
    assert "which decides nothing" in text
