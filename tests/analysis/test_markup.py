"""What a user calls things is text: on the pages, in Markdown, on a terminal."""

import dataclasses
import html.parser
import io

import pytest
from markdown_it import MarkdownIt
from rich.console import Console
from synthetic_results import make_results

from analysis.claims import judge, judge_against_competitors, with_robustness
from analysis.family import Family
from analysis.matrix import by_normalizer, by_value
from analysis.printing import print_matrices, print_replications, print_verdicts
from analysis.replications import replications_frame
from analysis.report._content import assemble
from analysis.report._family_content import assemble_family, family_tables
from analysis.report._render import (
    render_family_html,
    render_family_markdown,
    render_html,
    render_markdown,
)
from analysis.report._tables import tables

HOSTILE = "# <script>x</script> &amp; `a` |b| *c* {{ 7*7 }} {% raw %} [bold]d[/bold] :warning: [e](f) $g"
ACTIVE = {"script", "img", "iframe"}
"""Tags of what is not text, none of which a page without figures has."""


class Text(html.parser.HTMLParser):
    """What a browser shows, and of which tags."""

    def __init__(self, page):
        super().__init__()
        self.shown, self.tags = [], []
        self.feed(page)
        self.text = " ".join("".join(self.shown).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.shown.append(data)


def hostile(position):
    """A study at one value of an axis, all of whose words are markup."""
    made = make_results(
        activations=("relu",),
        seeds=5,
        confirm_seeds=5,
        num_bisections=0,
        rng=position,
        normalizations=("none", "rms"),
    )
    axis = {"key": "data.root", "label": HOSTILE, "values": [HOSTILE, "b"], "names": [], "position": position}
    words = made.schema["normalizations"]["rms"] | {"words": HOSTILE}
    schema = made.schema | {"normalizations": made.schema["normalizations"] | {"rms": words}}
    return dataclasses.replace(
        made,
        study=made.study | {"name": HOSTILE, "description": HOSTILE, "axis": axis},
        schema=schema,
        environment=made.environment | {"cpu": HOSTILE},
        progress=made.progress | {"command": HOSTILE},
        run_id=str(position) * 32,
    )


@pytest.fixture(scope="module")
def found():
    """A study, its family and their verdicts."""
    members = (hostile(0), hostile(1))
    return Family(members, members[1]), [judge(member) for member in members]


@pytest.fixture(scope="module")
def pages(found):
    """Every page in HTML and Markdown, without figures."""
    family, verdicts = found
    results, rivals = family.members[0], judge_against_competitors(family.members[0])
    frames = tables(results, verdicts[0], rivals)
    own = with_robustness(verdicts[0], frames["sensitivity"].frame)
    content = assemble(results, own, rivals, frames, [])
    of_all = assemble_family(family, verdicts, family_tables(family, verdicts), [])
    return {
        "html": (render_html(content), render_markdown(content)),
        "family": (render_family_html(of_all), render_family_markdown(of_all)),
    }


@pytest.mark.parametrize("page", ["html", "family"])
def test_words_are_text_on_a_page_and_in_markdown(pages, page):
    as_html, as_markdown = pages[page]
    read = MarkdownIt("commonmark", {"html": True}).enable("table").render(as_markdown)
    for shown in (Text(as_html), Text(read)):
        assert not ACTIVE & set(shown.tags)
        assert shown.text.count(HOSTILE) >= 3  # the name, the description, the axis or the environment
        assert shown.text.count("<script>") == shown.text.count(HOSTILE)  # nowhere in part


def test_words_are_text_on_a_terminal(found):
    family, verdicts = found
    stream = io.StringIO()
    console = Console(file=stream, width=2000, emoji=False, force_terminal=True)
    print_verdicts(console, verdicts[0], HOSTILE)
    print_matrices(console, by_normalizer(verdicts[0]))
    print_matrices(console, by_value([(HOSTILE, "", own) for own in verdicts]))
    again = dataclasses.replace(family.members[0], replications=(family.members[1],))
    print_replications(console, replications_frame(again, verdicts[0]), HOSTILE)
    shown = stream.getvalue()
    assert "[bold]d[/bold]" in shown
    assert (
        shown.count("[bold]") == shown.count("[/bold]") == shown.count("<script>") == shown.count(":warning:")
    )
