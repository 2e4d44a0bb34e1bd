"""Reading studies: what is accepted, and what is refused in which words."""

import json
import tomllib

import pytest
from made_trials import SMALL_TOML, make_study, study_table
from pydantic import ValidationError

from benchmark.base.errors import InputError
from benchmark.base.registry import lookup
from benchmark.data.augment import Augmentation
from benchmark.probes.watch import ProbesSpec
from benchmark.study.files import load_study, shipped_studies, study_path
from benchmark.study.spec import StudySpec
from benchmark.training.optimizers import Adam, RmsProp, Sgd
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.norms import ANYWHERE

TOML = (
    """
name = "tiny"
description = "a study in a file of one's own"

[network]
blocks = 3
width = 6
"""
    + SMALL_TOML
)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text(TOML)
    return str(file)


def test_a_study_is_read_as_written(path):
    study = load_study(path)
    assert (study.name, study.network.width, study.optimizer) == ("tiny", 6, Sgd(momentum=0.5))
    assert (study.search.low, study.search.high) == (0.001, 1.0)
    assert study.search.sampler == "grid"  # the default
    assert [str(v) for v in study.variants.product()] == [
        "none-sigmoid",
        "none-relu",
        "batch-sigmoid",
        "batch-relu",
    ]


def test_a_study_cannot_be_changed(path):
    with pytest.raises(ValidationError, match="frozen"):
        load_study(path).network.width = 7


def test_reading_survives_its_own_dump(path):
    study = load_study(path)
    assert StudySpec.model_validate_json(study.model_dump_json()) == study


REFUSED = {
    # Strictness: no value stands for one of another type.
    "network.dropout=true": ["network.dropout", "valid number", "found True"],
    'search.low="1e-3"': ["search.low", "valid number", "found '1e-3'"],
    "search.low=1e-3x": ["search.low", "valid number", "found '1e-3x'"],
    "network.width=8.0": ["network.width", "valid integer", "found 8.0"],
    "network.width=true": ["network.width", "valid integer", "found True"],
    "seeds.sweep=[6]": ["seeds.sweep", "valid integer", "found [6]"],
    "name=7": ["name", "valid string", "found 7"],
    "search.pruning=1": ["search.pruning", "valid boolean", "found 1"],
    "data=5": ["data", "object", "found 5"],
    "variants.activations=relu": ["variants.activations", "valid array", "found 'relu'"],
    "search.high=inf": ["search.high", "finite number", "found inf"],
    "search.high=nan": ["search.high", "found nan"],
    # Keys.
    "network.widht=7": ["network.widht", "no such key"],
    "networks.width=7": ["networks", "no such key"],
    "optimizer.rho=0.9": ["optimizer.rho", "no such key"],  # RMSprop's, not SGD's
    # Names.
    "data.dataset=cifar": ["data.dataset", "unknown dataset 'cifar'", "did you mean 'cifar"],
    'variants.normalizations=["none","bacth"]': ["variants.normalizations", "did you mean 'batch'"],
    'variants.activations=["rele"]': ["variants.activations", "unknown activation 'rele'"],
    'variants.activations=["relu","relu"]': ["variants.activations", "each name once", "relu, relu"],
    'probes.enabled=["gradient"]': ["probes.enabled", "did you mean 'gradients'"],
    'probes.enabled=["gradients","gradients"]': ["probes.enabled", "each probe once"],
    "optimizer.name=sdg": ["optimizer", "sdg", "'sgd'"],
    "variants.reference=batch-tanh": ["reference", "none-sigmoid, none-relu", "found 'batch-tanh'"],
    "name=Tiny Study": ["name", "pattern", "found 'Tiny Study'"],
    "search.sampler=sobol": ["search.sampler", "'grid'", "found 'sobol'"],
    # Ranges.
    "network.blocks=0": ["network.blocks", "greater than or equal to 1", "found 0"],
    "network.dropout=1.0": ["network.dropout", "less than 1", "found 1.0"],
    "search.low=0": ["search.low", "greater than 0", "found 0"],
    "search.num_extensions=3": ["search.num_extensions", "less than or equal to 2", "found 3"],
    "judge.rho=1.5": ["judge.rho", "less than or equal to 1", "found 1.5"],
    "execution.executor=slurm": ["execution.executor", "'local' or 'ray'"],
    "execution.address=auto": ["execution", 'expected none with executor = "local", found'],
    "execution.address=head": ["execution.address", "pattern"],
    "execution.checkpoint_every_s=0": ["execution.checkpoint_every_s", "greater than 0"],
    "variants.activations=[]": ["variants.activations", "at least 1 item", "found []"],
    # What must fit together.
    "budget.eval_every=30": ["budget", "eval_every", "divisor of num_steps = 100", "found 30"],
    "budget.confirm_eval_every=3": ["confirm_eval_every", "divisor of num_steps", "found 3"],
    "budget.confirm_eval_every=4": ["budget.confirm_eval_every", "at most num_steps/50 = 2", "found 4"],
    "search.high=0.0001": ["search", "expected below high", "low = 0.001, high = 0.0001"],
    "search.num_rates=1": ["search", "num_rates of at least 2", "num_rates = 1"],
    "search.sampler=fixed": ["search", "num_rates = 1 and low = high"],
    "search.pruning=true": ["search", "pruning", 'only sampler "tpe"', "found 'grid'"],
    "init.gains=[0.1, 10.0]": ["init.gains", "expected 1.0", "found (0.1, 10.0)"],
    "init.gains=[1.0, 2.0, 2.0]": ["init.gains", "each gain once"],
    "data.dataset=image-folder": ["data", "root", "folder of the images"],
    # Seeds that cannot decide: 2^-5 > 0.05/2.
    "seeds.sweep=5": ["seeds.sweep", "at least 6", "family of 2", "found 5"],
    "seeds.first=995": ["seeds", "first", "at most 1000", "found 1001"],
    "seeds.confirm=0": ["seeds.confirm", "at least 6", "found 0"],
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_is_refused_and_how(path, override):
    with pytest.raises(InputError) as caught:
        load_study(path, [override])
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in REFUSED[override]:
        assert part in message


def test_the_same_words_for_what_stands_in_the_file(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text(TOML.replace("width = 6", 'width = "6"'))
    with pytest.raises(InputError, match=r"bad\.toml: network\.width: .*valid integer, found '6'"):
        load_study(str(file))


def test_further_faults_are_counted(path):
    with pytest.raises(InputError, match=r"\(1 more\)$"):
        load_study(path, ["network.widht=7", "network.blocks=0"])


def test_missing_keys_are_named(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text(TOML.replace("high = 1\n", ""))
    with pytest.raises(InputError, match=r"search\.high: expected a value, found none"):
        load_study(str(file))


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe"])
def test_what_is_not_toml_is_refused(tmp_path, content):
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.toml: expected TOML, found: "):
        load_study(str(file))


def test_dates_are_refused(path):
    with pytest.raises(InputError, match="expected numbers, strings, booleans and lists only"):
        load_study(path, ["network.width=2020-01-01"])


@pytest.mark.parametrize(
    ("activations", "seeds", "enough"),
    [(1, 4, False), (1, 5, True), (2, 5, False), (2, 6, True), (3, 6, True), (4, 6, False), (4, 7, True)],
)
def test_how_many_seeds_can_decide(activations, seeds, enough):
    """Section 8: refused where 2^-n > 0.05 / m."""
    assert enough == (2.0**-seeds <= 0.05 / activations)
    names = ["relu", "sigmoid", "tanh", "elu"][:activations]
    table = study_table(variants={"activations": names}, seeds={"sweep": seeds, "confirm": 20})
    if enough:
        assert StudySpec.model_validate_json(json.dumps(table)).seeds.sweep == seeds
    else:
        with pytest.raises(ValidationError, match=f"seeds.sweep: expected at least {seeds + 1}"):
            StudySpec.model_validate_json(json.dumps(table))


def test_a_fixed_rate_needs_no_confirm_seeds():
    study = make_study(
        search={"sampler": "fixed", "low": 0.1, "high": 0.1, "num_rates": 1},
        seeds={"sweep": 6, "confirm": 0},
        budget={"confirm_eval_every": 50},
    )
    assert study.seeds.confirm == 0


@pytest.mark.parametrize("sampler", ["qmc", "random", "tpe"])
def test_only_a_grid_is_refined(sampler):
    assert make_study(search={"sampler": sampler}).search.sampler == sampler
    with pytest.raises(ValidationError, match='only sampler "grid" is refined'):
        make_study(search={"sampler": sampler, "num_bisections": 2})


OVERRIDES = {
    "network.width=12": lambda study: study.network.width == 12,
    "search.high=1e1": lambda study: study.search.high == 10.0,
    "data.dataset=cifar10": lambda study: study.data.dataset == "cifar10",  # a bare word
    'data.dataset="cifar10"': lambda study: study.data.dataset == "cifar10",
    "data.root=/some where/else": lambda study: study.data.root == "/some where/else",
    "data.augmentation.shear=0.1": lambda study: study.data.augmentation.shear == 0.1,
    "data.augmentation.zoom=[0.9, 1.1]": lambda study: study.data.augmentation.zoom == (0.9, 1.1),
    "data.augmentation={flip = false}": lambda study: not study.data.augmentation.flip,
    'probes.enabled=["gradients"]': lambda study: study.probes == ProbesSpec(enabled=("gradients",)),
    'optimizer={name = "adam"}': lambda study: study.optimizer == Adam(),
    " judge.rho = 0.5 ": lambda study: study.judge.rho == 0.5,
    "init.gains=[0.1, 1.0, 10.0]": lambda study: study.init.gains == (0.1, 1.0, 10.0),
    "description=a = b": lambda study: study.description == "a = b",
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_overrides(path, override):
    before = load_study(path).model_dump()
    study = load_study(path, [override])
    assert OVERRIDES[override](study)
    section = override.strip().partition("=")[0].partition(".")[0].strip()
    changed = [name for name, value in study.model_dump().items() if value != before[name]]
    assert changed == [section]


def test_later_overrides_win_and_add_up(path):
    study = load_study(path, ["network.width=9", "network.width=12", "network.blocks=4"])
    assert (study.network.width, study.network.blocks) == (12, 4)


def test_an_override_may_change_the_optimizer(path):
    study = load_study(path, ['optimizer={name = "rmsprop"}', "optimizer.epsilon_inside=true"])
    assert study.optimizer == RmsProp(epsilon_inside=True)


def test_an_override_of_the_optimizer_that_a_study_has_without_naming_it():
    assert load_study("quick", ["optimizer.weight_decay=0.1"]).optimizer == Sgd(weight_decay=0.1)


def test_all_stands_for_every_entry_there_is():
    everything = ['variants.normalizations=["all"]', 'variants.activations=["all"]']
    study = load_study("quick", everything)
    assert study.variants.normalizations == tuple(ANYWHERE)
    assert study.variants.activations == tuple(ACTIVATIONS)
    assert load_study("normalizers").variants.normalizations == tuple(ANYWHERE)
    with pytest.raises(InputError, match="unknown normalization 'all'"):
        load_study("quick", ['variants.normalizations=["all", "batch"]'])


def test_another_kind_of_section_drops_the_settings_of_the_old_one():
    assert load_study("cifar100").optimizer == Sgd(momentum=0.9)
    assert load_study("cifar100", ["optimizer.name=rmsprop"]).optimizer == RmsProp()
    same = load_study("notebook", ["optimizer.name=rmsprop", "optimizer.rho=0.8"]).optimizer
    assert same == RmsProp(rho=0.8, epsilon=1e-7)


def test_no_rate_is_chosen_on_the_test_split():
    with pytest.raises(InputError, match="must not be chosen on the test split"):
        load_study("quick", ["data.validation=test"])


def test_landscape_walks_need_a_selected_rate():
    with pytest.raises(InputError, match="needs a selected rate"):
        load_study("notebook", ['probes.enabled=["landscape"]'])


@pytest.mark.parametrize("override", ["network.width", "=7", " =7", ""])
def test_overrides_need_a_key_and_a_value(path, override):
    with pytest.raises(InputError, match="--set: expected key=value, found"):
        load_study(path, [override])


def test_a_value_has_no_keys(path):
    with pytest.raises(InputError, match="'name' is a value, not a section"):
        load_study(path, ["name.first=7"])


def test_every_shipped_study_loads_under_its_own_name():
    studies = shipped_studies()
    assert set(studies) >= {"smoke", "quick", "notebook", "cifar100", "fashion-mnist"}
    for name, path in studies.items():
        assert load_study(name).name == name
        assert study_path(name) == path


def test_shipped_studies_have_the_protocols_sizes():
    """Section 10."""
    quick, cifar100 = load_study("quick"), load_study("cifar100")
    for study, num_rates, low, high, bisections, seeds, num_validation in (
        (quick, 8, 3.16228e-4, 1e0, 2, 10, 360),
        (cifar100, 12, 1e-4, 1e1, 2, 10, 5000),
    ):
        search = study.search
        assert (search.sampler, search.num_rates, search.low, search.high) == ("grid", num_rates, low, high)
        assert (search.num_bisections, search.num_extensions) == (bisections, 2)
        assert (study.seeds.sweep, study.seeds.confirm) == (seeds, seeds)
        assert study.data.num_validation == num_validation
        assert study.judge.statistics == "reestimated"
        assert study.judge.rho == 0.9


def test_the_notebook_study_is_the_source_to_the_letter():
    study = load_study("notebook")
    assert study.optimizer == RmsProp(rho=0.9, epsilon=1e-7)
    assert (study.search.sampler, study.search.low) == ("fixed", 1e-3)
    assert (study.budget.batch_size, study.budget.num_steps, study.budget.eval_every) == (80, 40_000, 2000)
    assert (study.network.blocks, study.network.width, study.network.dropout) == (5, 60, 0.15)
    assert (study.data.dataset, study.data.preprocessing, study.data.validation) == (
        "cifar100",
        "notebook",
        "test",
    )
    # As keras-preprocessing did it in 2018: degrees, and a centre a pixel off.
    assert study.data.augmentation == Augmentation(
        flip=True, zoom=(0.8, 1.2), shear=0.2, shear_unit="degrees", centre="keras-legacy"
    )
    assert (study.search.high, study.search.num_rates) == (1e-3, 1)
    assert study.judge.statistics == "moving-average"
    assert {str(v) for v in study.variants.product()} == {
        "none-sigmoid",
        "none-relu",
        "batch-sigmoid",
        "batch-relu",
    }


def test_unknown_studies_are_refused(tmp_path):
    with pytest.raises(InputError, match="unknown study 'quik': did you mean 'quick'"):
        load_study("quik")
    for missing in (str(tmp_path / "none.toml"), "none.toml", str(tmp_path / "none")):
        with pytest.raises(InputError, match="expected a TOML file, found none at"):
            load_study(missing)


def test_lookup_says_what_there_is():
    registry = {"alpha": 1, "beta": 2}
    assert lookup(registry, "beta", "letter") == 2
    with pytest.raises(
        InputError, match=r"^unknown letter 'betta': did you mean 'beta'\? choose one of alpha, beta$"
    ):
        lookup(registry, "betta", "letter")
    with pytest.raises(InputError, match=r"^unknown letter 'x': choose one of alpha, beta$"):
        lookup(registry, "x", "letter")


def test_studies_say_what_they_are():
    for path in shipped_studies().values():
        table = tomllib.loads(path.read_text())
        assert len(table["description"]) > 40
