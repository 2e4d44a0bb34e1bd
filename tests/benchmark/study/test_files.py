"""Studies that extend others, and studies with an axis: what is merged, what is varied, what is refused."""

import json

import pytest
from made_trials import SMALL_TOML, study_table

from benchmark.base.errors import InputError
from benchmark.study.files import load_studies, load_study
from benchmark.study.spec import StudySpec
from benchmark.training.losses import MeanSquaredError
from benchmark.training.optimizers import Adam, RmsProp, Sgd
from benchmark.variants.networks import MlpSpec, NetworkSpec, ResNetSpec

BASE = (
    """
name = "base"
description = "what the others extend"

[variants]
activations = ["relu"]

[network]
blocks = 3
width = 6
dropout = 0.0
"""
    + SMALL_TOML
)
AXIS = """
[axis]
key = "network.width"
label = "filters"
values = [6, 9, 12]
"""


@pytest.fixture
def extending(tmp_path):
    """A function that writes a study over `base.toml`, `text` its own part, and gives its path."""
    (tmp_path / "base.toml").write_text(BASE)

    def write(text, name="own", extends="base.toml"):
        path = tmp_path / f"{name}.toml"
        # Another study is named, or lies at a path.
        base = tmp_path / extends if extends.endswith(".toml") else extends
        path.write_text(f'extends = "{base}"\nname = "{name}"\n{text}')
        return str(path)

    return write


def test_tables_merge_and_values_replace(extending):
    text = '[network]\nwidth = 9\n[variants]\nnormalizations = ["none", "layer", "batch"]'
    own = load_study(extending(text))
    base = load_study(str(extending("")))
    assert own.network == NetworkSpec(blocks=3, width=9, dropout=0.0)
    assert own.variants.activations == ("relu",)  # the base's, in a table that both have
    assert own.variants.normalizations == ("none", "layer", "batch")  # a list is a value
    assert (own.name, own.description) == ("own", "what the others extend")
    assert own.optimizer == Sgd(momentum=0.5)
    for section in ("budget", "search", "seeds"):
        assert getattr(own, section) == getattr(base, section)


@pytest.mark.parametrize(
    ("text", "section", "expected"),
    [
        ('[optimizer]\nname = "adam"', "optimizer", Adam()),  # no momentum is left
        ('[optimizer]\nname = "sgd"', "optimizer", Sgd(momentum=0.5)),
        ("[optimizer]\nmomentum = 0.1", "optimizer", Sgd(momentum=0.1)),
        ('[network]\nfamily = "mlp"\nunits = 20', "network", MlpSpec(units=20)),  # nor its width
        ('[loss]\nname = "mse"', "loss", MeanSquaredError()),  # a section that the base has not
    ],
)
def test_a_table_of_another_kind_replaces_the_bases(extending, text, section, expected):
    assert getattr(load_study(extending(text)), section) == expected


def test_extending_goes_on(extending):
    extending("[network]\nwidth = 9\nblocks = 4", name="middle")
    study = load_study(extending("[network]\nwidth = 12", name="last", extends="middle.toml"))
    assert (study.name, study.network.width, study.network.blocks) == ("last", 12, 4)


def test_shipped_studies_can_be_extended_by_name(extending):
    own, quick = load_study(extending("[network]\nwidth = 5", extends="quick")), load_study("quick")
    assert own.model_dump(exclude={"name", "network"}) == quick.model_dump(exclude={"name", "network"})
    # A file may have the name of the shipped one that it extends.
    assert load_study(extending("", name="quick", extends="quick")) == quick


def test_what_is_extended_must_be_there(extending):
    for base, words in (
        ("quik", "own.toml: extends: unknown study 'quik': did you mean 'quick'"),
        ("none.toml", "own.toml: extends: study: expected a TOML file, found none at"),
    ):
        with pytest.raises(InputError) as caught:
            load_study(extending("", extends=base))
        assert words in str(caught.value)


def test_what_is_extended_must_be_named(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('extends = ["quick"]')
    with pytest.raises(InputError, match=r"own\.toml: extends: expected the name .*, found \['quick'\]"):
        load_study(str(path))


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_of_studies_is_refused(extending, length):
    names = [f"study{number}" for number in range(length)]
    paths = [
        extending("", name=name, extends=f"{names[(number + 1) % length]}.toml")
        for number, name in enumerate(names)
    ]
    circle = " -> ".join([*names, names[0]])
    with pytest.raises(InputError, match=f"extends: expected a study that does not .* found {circle}"):
        load_study(paths[0])


def test_faults_of_the_base_are_told_of_the_file_that_was_asked_for(extending):
    with pytest.raises(InputError, match=r"own\.toml: network\.widht: no such key"):
        load_study(extending("[network]\nwidht = 9"))


def test_an_axis_is_one_study_per_value(extending):
    path = extending(AXIS)
    studies = load_studies(path)
    assert [study.network.width for study in studies] == [6, 9, 12]
    assert [study.axis.position for study in studies] == [0, 1, 2]
    assert [study.axis.value_name for study in studies] == ["6", "9", "12"]
    for study in studies:
        assert study.network.blocks == 3
        assert study.model_dump(exclude={"network", "axis"}) == studies[0].model_dump(
            exclude={"network", "axis"}
        )
    assert load_study(path).axis.position is None
    (alone,) = load_studies(extending(""))
    assert alone.axis is None


def test_an_axis_may_take_whole_sections(extending):
    path = extending(
        '[axis]\nkey = "optimizer"\nlabel = "optimizer"\nnames = ["plain", "rms"]\n'
        'values = [{ name = "sgd" }, { name = "rmsprop", rho = 0.8 }]'
    )
    studies = load_studies(path)
    assert [study.optimizer for study in studies] == [Sgd(), RmsProp(rho=0.8)]  # no momentum is left
    assert [study.axis.value_name for study in studies] == ["plain", "rms"]


def test_an_axis_over_a_kind_drops_the_settings_of_the_other(extending):
    path = extending('[axis]\nkey = "optimizer.name"\nlabel = "optimizer"\nvalues = ["sgd", "adam"]')
    assert [study.optimizer for study in load_studies(path)] == [Sgd(momentum=0.5), Adam()]


def test_an_axis_may_vary_what_the_file_does_not_say(extending):
    path = extending('[axis]\nkey = "judge.rho"\nlabel = "rho"\nvalues = [0.5, 0.8]')
    assert [study.judge.rho for study in load_studies(path)] == [0.5, 0.8]


def test_an_axis_takes_other_values_by_override(extending):
    studies = load_studies(extending(AXIS), ["axis.values=[3, 24]", "network.blocks=4"])
    assert [(study.network.width, study.network.blocks) for study in studies] == [(3, 4), (24, 4)]


@pytest.mark.parametrize(
    ("axis", "override"),
    [
        ("network.width", "network.width=7"),
        ("network.width", "network = {width = 7}"),
        ("network.width", " network.width =7"),
        ("optimizer", "optimizer.momentum=0.1"),
        ("optimizer", 'optimizer={name = "adam"}'),
    ],
)
def test_what_an_axis_varies_cannot_be_set(extending, axis, override):
    """It would be overwritten in silence; or take the place of the axis' own section."""
    values = '[{ name = "sgd" }, { name = "adam" }]' if axis == "optimizer" else "[6, 9]"
    path = extending(f'[axis]\nkey = "{axis}"\nlabel = "x"\nvalues = {values}')
    for read in (load_study, load_studies):
        with pytest.raises(InputError) as caught:
            read(path, ["budget.batch_size=8", override])
        message = str(caught.value)
        assert f"{path}: --set {override}: expected a key beside {axis}" in message
        assert "set axis.values" in message
        assert "\n" not in message


def test_named_values_are_set_with_their_names(extending):
    """Else the old names would stand for the new values."""
    path = extending('[axis]\nkey = "network.width"\nlabel = "width"\nvalues = [6, 9]\nnames = ["6", "9"]')
    with pytest.raises(InputError, match=r"--set axis.values: expected new axis.names beside it") as caught:
        load_studies(path, ["axis.values=[3, 12]"])
    assert "\n" not in str(caught.value)
    studies = load_studies(path, ["axis.values=[3, 12]", 'axis.names=["3", "12"]'])
    assert [(s.network.width, s.axis.value_name) for s in studies] == [(3, "3"), (12, "12")]


def test_keys_beside_the_axis_can_be_set(extending):
    study = load_study(extending(AXIS), ["network.dropout=0.1", "name=network"])
    assert (study.network.dropout, study.name) == (0.1, "network")


REFUSED = {
    "axis.key=network.widht": "network.widht: no such key",
    "axis.key=networks.width": "networks: no such key",
    "axis.key=network.width.more": "axis.key: 'width' is a value, not a section",
    "axis.key=7": "axis.key: input should be a valid string, found 7",
    "axis.values=[6]": "axis.values: tuple should have at least 2 items",
    "axis.values=[]": "axis.values: tuple should have at least 2 items",
    "axis.values=6": "axis.values: input should be a valid array, found 6",
    "axis.values=[6, 9, 6]": "axis: values: expected each value once, found [6, 9, 6]",
    "axis.values=[6, true]": "axis.values: expected numbers, words or tables, found True",
    "axis.values=[6, [9]]": "axis.values: expected numbers, words or tables, found [9]",
    "axis.values=[6, 9.5]": "network.width: input should be a valid integer, found 9.5",
    "axis.values=[6, 'wide']": "network.width: input should be a valid integer, found 'wide'",
    "axis.values=[6, 2]": "network.width: input should be greater than or equal to 3, found 2",
    "axis.names=['a', 'b']": "axis: names: expected one per value, 3, found 2",
    "axis.names=['a', 'b', 'a']": "axis: names: expected each name once, found ['a', 'b', 'a']",
    "axis.position=1": "axis.position: expected none",
    "axis.value=[6, 9]": "axis.value: no such key",
    "axis=7": "axis: input should be an object, found 7",
}


@pytest.mark.parametrize("override", REFUSED)
def test_bad_axes_are_refused(extending, override):
    path = extending(AXIS)
    with pytest.raises(InputError) as caught:
        load_studies(path, [override])
    assert str(caught.value).startswith(f"{path}: {REFUSED[override]}")
    assert "\n" not in str(caught.value)


def test_an_axis_needs_key_label_and_values(extending):
    for key in ("key", "label", "values"):
        text = "\n".join(line for line in AXIS.splitlines() if not line.startswith(key))
        with pytest.raises(InputError, match=rf"axis\.{key}: expected a value, found none"):
            load_studies(extending(text))


def test_a_study_of_an_axis_survives_its_own_dump():
    axis = {"key": "network.width", "label": "filters", "values": [6, 9], "position": 1}
    study = StudySpec.model_validate_json(json.dumps(study_table() | {"axis": axis}))
    assert study.axis.value_name == "9"
    assert StudySpec.model_validate_json(study.model_dump_json()) == study


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_overrides_does_not_matter_for_a_kind(order):
    overrides = ["network.width=6", "network.family=resnet", "optimizer.rho=0.5", "optimizer.name=rmsprop"]
    study = load_study("smoke", overrides[::order])
    assert study.network == ResNetSpec(width=6)
    assert study.optimizer == RmsProp(rho=0.5)


def test_an_unknown_kind_is_told_the_known_ones():
    with pytest.raises(
        InputError, match="network: expected one of 'cnn', 'mlp', 'resnet', found 'transformer'"
    ):
        load_study("smoke", ["network.family=transformer"])


@pytest.mark.parametrize("said", ["", 'family = "cnn"\n'])
def test_an_override_of_a_kind_replaces_its_section_even_where_the_file_does_not_say_it(tmp_path, said):
    """The cnn's `blocks` are no settings of a fully connected network."""
    file = tmp_path / "made.toml"
    file.write_text(
        'name = "made"\ndescription = "for tests"\n[variants]\nactivations = ["relu"]\n'
        f"[network]\n{said}blocks = 3\n" + SMALL_TOML
    )
    assert load_study(str(file), ["network.family=mlp"]).network == MlpSpec()
    kept = load_study(str(file), ["network.family=cnn", "network.width=7"]).network
    assert kept == NetworkSpec(blocks=3, width=7)
