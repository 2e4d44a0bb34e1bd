"""Study files and `--set`: anything is read as a study, or refused in a line."""

import json
import tomllib
from functools import cache

import pytest
import torch
from fuzzing import LITERALS, Watch, fuzzed, literals, refused, words
from hypothesis import strategies as st

from benchmark.data.datasets import load
from benchmark.stages.axis import check_networks
from benchmark.study import plan
from benchmark.study.files import load_studies, shipped_studies
from benchmark.study.identity import study_hash
from benchmark.study.replication import replication_of
from benchmark.study.spec import StudySpec
from benchmark.variants import networks

TEXTS = {name: path.read_text(encoding="utf-8") for name, path in shipped_studies().items()}
TABLES = {name: tomllib.loads(text) for name, text in TEXTS.items()}
MOST_VARIANTS = 2  # of a study whose networks are built: more cost seconds


def keys_of(model, before=()):
    """Every dotted key that a section can have, of all kinds of it."""
    schema = model.model_json_schema()

    def walk(node, path):
        for ref in node.get("anyOf", []) + node.get("oneOf", []) + node.get("allOf", []) + [node]:
            name = ref.get("$ref", "").rpartition("/")[2]
            own = schema["$defs"][name] if name else ref
            if own is not node and ("oneOf" in own or "anyOf" in own):
                yield from walk(own, path)
            for key, one in own.get("properties", {}).items():
                yield ".".join((*path, key))
                yield from walk(one, (*path, key))

    return sorted(set(walk(schema, before)))


KEYS = [*keys_of(StudySpec), "extends"]
ODD_KEYS = [
    "",
    ".",
    "..",
    "a..b",
    "network.",
    ".width",
    "a" * 300,
    "a." * 60 + "b",
    "__class__",
    "axis.key.x",
]
keys = st.one_of(st.sampled_from(KEYS), st.sampled_from(KEYS), st.sampled_from(ODD_KEYS), words)


def toml(value):
    """A value in TOML's notation."""
    if isinstance(value, Literal):
        return value.text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)


class Literal:
    def __init__(self, text):
        self.text = text


@st.composite
def files(draw):
    """A shipped study with some keys changed, gone, moved or added."""
    table = json.loads(json.dumps(TABLES[draw(st.sampled_from(sorted(TABLES)))]))
    for _ in range(draw(st.integers(1, 3))):
        *sections, last = draw(keys).split(".")
        place = table
        for section in sections:
            if not isinstance(place.get(section), dict):
                place[section] = {}
            place = place[section]
        match draw(st.sampled_from(["set", "set", "set", "drop", "rename", "scale"])):
            case "set":
                place[last] = Literal(draw(literals))
            case "drop":
                place.pop(last, None)
            case "rename":
                place[draw(words)] = place.pop(last, 1)
            case "scale" if isinstance(place.get(last), int | float):
                place[last] *= draw(st.sampled_from([-1, 0, 10, 1000, 10**9, 10**30, 0.1, 1e-30, 1e200]))
    return "\n".join(f"{toml(key)} = {toml(value)}" for key, value in table.items())


@st.composite
def texts(draw):
    """A shipped study's text, cut and mended with something else; or no study's at all."""
    text = draw(st.sampled_from(sorted(TEXTS.values())))
    if draw(st.booleans()):
        first = draw(st.integers(0, len(text)))
        last = draw(st.integers(first, min(len(text), first + 40)))
        text = text[:first] + draw(st.one_of(literals, st.just(text[first:last]))) + text[last:]
        return text.encode(errors="surrogatepass")
    return draw(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))


@cache
def digits(folder):
    return load(StudySpec.model_fields["data"].default, torch.device("cpu"), folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where studies are read from; nothing is written. Large networks cost seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "MOST_PARAMETERS", 500_000)
        yield tmp_path_factory.mktemp("fuzz")


def read(place, name, overrides=()):
    """Whether a study was refused; what is read can be planned, identified, and its networks made."""
    with Watch("/nowhere"):

        def use():
            studies = load_studies(name, overrides)
            assert studies
            for study in studies[:1]:
                used(study, place)

        return refused(use)


def used(study, place):
    """What a run does before its first trial."""
    rates = plan.grid(study)
    assert all(0 < rate < float("inf") for rate in rates)
    if study.search.sampler != "fixed":
        assert len(plan.extend_grid(rates, upwards=True)) == len(rates) + 2
        assert len(plan.extend_grid(rates, upwards=False)) == len(rates) + 2
    plan.stage_sizes(study)
    plan.confirm_cells(study, dict.fromkeys(study.variants.product(), rates[0]))
    assert len(study_hash(study, "")) == len(study_hash(study, "other"))
    replication_of(study, 1)
    if study.data.dataset == "digits" and len(study.variants.product()) <= MOST_VARIANTS:
        check_networks(study, digits(place / "data"))


@fuzzed("study files", short=60, full=3500, text=files())
def test_a_changed_study_is_read_or_refused(place, text):
    path = place / "study.toml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    digits(place / "data")
    read(place, str(path))


@fuzzed("texts", short=30, full=1500, content=texts())
def test_any_text_is_read_or_refused(place, content):
    path = place / "text.toml"
    path.write_bytes(content)
    digits(place / "data")
    read(place, str(path))


overrides = st.one_of(st.tuples(keys, literals).map("=".join), words)


@fuzzed(
    "--set",
    short=60,
    full=3500,
    name=st.sampled_from(sorted(TABLES)),
    overrides=st.lists(overrides, min_size=1, max_size=3),
)
def test_any_override_is_taken_or_refused(place, name, overrides):
    digits(place / "data")
    read(place, name, overrides)


@pytest.mark.parametrize("number", range(len(LITERALS)))
def test_every_odd_value_is_taken_or_refused_by_a_number_a_word_and_a_list(place, number):
    digits(place / "data")
    for key in (
        "budget.num_steps",
        "search.high",
        "description",
        "variants.activations",
        "axis",
        "optimizer",
    ):
        read(place, "smoke", [f"{key}={LITERALS[number]}"])
