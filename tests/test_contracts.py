"""What every entry of every registry must do; a new entry is tested the moment it exists."""

import io
import itertools
import math
import re
import typing
from pathlib import Path

import pytest
import torch
from made_networks import fitting_spec, make_network
from made_trials import make_data, make_study, make_trial, replica_of, run_trial, step_alone
from torch.func import functional_call

from benchmark.base.errors import InputError
from benchmark.base.section import Section
from benchmark.contract import BASELINE, CURVE_METRICS, FINAL_METRICS, PROTOCOL_VERSION
from benchmark.data.datasets import DataSpec
from benchmark.data.sources import DATASETS
from benchmark.probes import PROBES
from benchmark.probes.watch import Probes, ProbesSpec
from benchmark.study.files import load_studies, load_study, shipped_studies
from benchmark.study.identity import study_hash, trial_of
from benchmark.study.plan import grid, stage_sizes
from benchmark.training.optimizers import OPTIMIZERS, Sgd
from benchmark.training.state import Layout, TrainState, flatten
from benchmark.training.step import Problem, StreamKeys
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.data_start import start_from_data
from benchmark.variants.networks import FAMILIES, NetworkSpec, build_network
from benchmark.variants.networks.cnn import ConvNet
from benchmark.variants.normalization import Place
from benchmark.variants.norms import NORMALIZATIONS
from benchmark.variants.variant import Variant

VARIANTS = [str(Variant(norm, act)) for norm, act in itertools.product(NORMALIZATIONS, ACTIVATIONS)]
# Every entry of both tables, once or twice; their product trains in the last of these tests.
CROSS = [
    f"{norm}-{act}"
    for norm, act in itertools.product(NORMALIZATIONS, ACTIVATIONS)
    if act == "relu" or norm in ("none", "batch")
]
# A rule sees one flat vector of parameters, whatever the network.
TRAINED = [(variant, "sgd") for variant in CROSS] + [
    (f"{norm}-{act}", rule)
    for norm, act, rule in itertools.product(("none", "batch"), ("sigmoid", "relu"), OPTIMIZERS)
    if rule != "sgd"
]
RATES = {"sgd": 0.01, "rmsprop": 1e-3, "adam": 1e-3, "adamw": 1e-3}


@pytest.fixture(scope="module")
def data():
    return make_data()


def named(variant):
    """A variant's two names; an activation's may have hyphens, so may a normalization's."""
    return next((n, a) for n, a in itertools.product(NORMALIZATIONS, ACTIVATIONS) if f"{n}-{a}" == variant)


def test_variants_are_told_apart_by_their_names():
    assert len(set(VARIANTS)) == len(VARIANTS)


@pytest.mark.parametrize(("variant", "optimizer"), TRAINED)
def test_every_variant_and_every_optimizer_trains(variant, optimizer, data, tmp_path):
    """Five steps, looked at after each: finite gradients that move the weights; then saved and loaded."""
    normalization, activation = named(variant)
    study = make_study(
        variants={
            "normalizations": [normalization],
            "activations": [activation],
            "reference": variant,
        },
        search={"sampler": "fixed", "low": RATES[optimizer], "high": RATES[optimizer], "num_rates": 1},
        budget={"num_steps": 5, "eval_every": 1},
        optimizer={"name": optimizer},
        network=fitting_spec(normalization).model_dump(),
    )
    trial = trial_of(study, Variant(normalization, activation), RATES[optimizer], 0, "sweep", "made")
    evaluations, outcome = run_trial(trial, data, tmp_path)
    assert outcome.status in ("trained", "stuck")
    assert len(evaluations) == 6
    for evaluation in evaluations[1:]:
        assert 0 < evaluation.row["gradient_norm"] < math.inf
        assert all(math.isfinite(value) for value in evaluation.row.values())
    assert len({evaluation.row["parameter_norm"] for evaluation in evaluations}) > 1

    network = replica_of(trial, data, tmp_path / "other").network
    reloaded = build_network(study.network, trial.variant, data.image_shape, data.num_classes, 5, 16)
    reloaded.load_state_dict(torch.load(tmp_path / "last.pt"))
    assert set(torch.load(tmp_path / "best.pt")) == set(network.state_dict())
    logits = reloaded.eval()(data.validation.take(slice(0, 64)))
    loss = torch.nn.functional.cross_entropy(logits, data.validation.labels[:64]).item()
    assert loss == pytest.approx(outcome.metrics["final_val_loss_ema"], rel=1e-5)


# Where networks are looked at, not trained: every entry in the first family that can have it, and with one
# activation in every other.
LOOKED_AT = [(variant, None) for variant in CROSS] + [
    (f"{norm}-relu", family)
    for norm, family in itertools.product(NORMALIZATIONS, list(FAMILIES)[1:])
    if fitting_spec(norm, family) is not None
]


@pytest.mark.parametrize(("variant", "family"), LOOKED_AT)
def test_in_evaluation_an_examples_output_is_its_own(variant, family, data):
    network = make_network(*named(variant), family=family).double()
    images = data.train.take(slice(0, 32)).double()
    network.train()(images)  # running statistics that are not the initial ones
    assert network.eval()(images[:8]).shape == (8, 4)
    check_that_images_do_not_see_each_other(network, images[:8])


@pytest.mark.parametrize(("variant", "family"), LOOKED_AT)
def test_in_training_examples_are_coupled_where_the_table_says_so(variant, family, data):
    network = make_network(*named(variant), family=family).double().train()
    images = data.train.take(slice(0, 8)).double()
    together, alone = network(images)[:4], network(images[:4])
    coupled = NORMALIZATIONS[named(variant)[0]].couples_examples
    assert torch.allclose(together, alone, atol=1e-9) != coupled


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_normalizations_keep_the_shape_and_say_what_they_are(name):
    entry = NORMALIZATIONS[name]
    out = entry.build(Place((60, 4, 4), is_last=True))(torch.rand(8, 60, 4, 4))
    assert out.shape == (8, 60, 4, 4)
    assert entry.description
    assert re.search(r"\(\d{4}\.\d{4,5}\)|notebook", entry.source)
    unit = make_network(name).units[0]
    assert (unit.conv.bias is not None) == entry.keeps_bias


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_normalizations_are_as_the_table_says(name):
    entry, place = NORMALIZATIONS[name], Place((20, 4, 4), is_last=True)
    x = torch.rand(8, 20, 4, 4, generator=torch.Generator().manual_seed(0))
    module = entry.build(place)
    assert (entry.judged_by is not None) == any(True for _ in module.buffers())
    if entry.judged_by is not None:
        module.momentum = 1.0  # what evaluation of `x` then reads is of x alone, whatever came before
        module.train()(x + 5)
        module.train()(x)
        other = entry.build(place)
        other.momentum = 1.0
        other.train()(x)
        torch.testing.assert_close(module.eval()(x), other.eval()(x))
    centred = module.train()(x).mean((2, 3)).abs().max() < 1e-5
    assert entry.centres_each_map(place) == bool(centred)
    # What competes does not normalize what a layer gives; what does not compete does, or the layer's weights.
    plain, one = entry.build(place).eval(), torch.ones(8, 20, 4, 4)
    if entry.is_competitor:
        assert not entry.couples_examples
        assert not torch.allclose(plain(2 * one), plain(one))
    elif name != BASELINE:
        assert entry.build is not NORMALIZATIONS[BASELINE].build or entry.reparametrize is not None


def test_normalizations_have_names_that_read_in_a_sentence():
    assert NORMALIZATIONS[BASELINE].words == "no normalization"
    names = {name: entry.words for name, entry in NORMALIZATIONS.items() if name != BASELINE}
    assert len(set(names.values())) == len(names)
    assert names["batch"] == "batch normalization"
    assert names["group4"] == "group normalization (4 groups)"
    assert names["weight-std-group10"] == "weight standardization and group normalization (10 groups)"
    assert names["none-he"] == "He initialization"
    assert names["batch-noisy"] == "noisy batch normalization"
    for name, words in names.items():
        assert name.isalpha() or name not in words  # no hyphens and numbers of the registry
        assert ("normalization" in words or words == "batch renormalization") == (
            not NORMALIZATIONS[name].is_competitor
        )


def test_the_baseline_normalizes_nothing():
    x = torch.rand(2, 6, 4, 4)
    assert torch.equal(NORMALIZATIONS[BASELINE].build(Place((6, 4, 4)))(x), x)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_elementwise_and_as_the_table_says(name):
    entry = ACTIVATIONS[name]
    assert entry.description
    assert entry.source
    x = torch.linspace(-20, 20, 40_001, dtype=torch.float64).requires_grad_()
    y = entry.build()(x)
    assert torch.equal(y[7:9], entry.build()(x[7:9]))
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert entry.has_dead_units == bool(((y == 0) & (slope == 0))[x < 0].all())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_are_sections_named_as_their_entry(name):
    rule = OPTIMIZERS[name]()
    assert rule.name == name
    assert isinstance(rule, Section)
    assert not {"lr", "learning_rate"} & set(type(rule).model_fields)  # it is what a study varies
    assert type(rule).__doc__


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_descend(name):
    rule = OPTIMIZERS[name]()
    parameters = torch.tensor([1.0, -2.0, 3.0])
    moments = rule.moments(parameters)
    for number in range(200):
        rule.update_(parameters, 2 * parameters, moments, torch.tensor(0.02), torch.tensor(number))
    assert parameters.square().sum() < 1  # from 14


@pytest.mark.parametrize("name", DATASETS)
def test_datasets_say_what_they_are(name):
    entry = DATASETS[name]
    assert entry.description
    assert entry.source
    assert (entry.num_classes is None) == (entry.shape is None) == entry.needs_root
    spec = DataSpec(dataset=name, root="/some/where" if entry.needs_root else "")
    assert spec.dataset == name
    if entry.shape is not None:  # the smallest network of the family takes its images
        ConvNet(NetworkSpec(blocks=3, width=3), Variant("none", "relu"), entry.shape, entry.num_classes)


@pytest.mark.parametrize(("variant", "family"), LOOKED_AT)
def test_probes_read_what_they_declare_off_every_variant(variant, family, data):
    network = make_network(*named(variant), family=family)
    tensors = {key: value.detach() for key, value in network.state_dict().items()}
    updates = {key: 0.1 * value for key, value in tensors.items() if value.is_floating_point()}
    for name, probe in PROBES.items():
        spec = ProbesSpec(enabled=(name,), num_images=16)
        watch = Probes(spec, network, named(variant)[1], data.reestimation, 5, walk_rate=0.01)
        rows = watch.observe(0, tensors, updates)
        assert rows
        assert {row["probe"] for row in rows} <= set(probe.metrics)
        assert all(math.isfinite(row["value"]) for row in rows)
        keys = [(row["probe"], row["layer"]) for row in rows]
        assert len(set(keys)) == len(keys)


def test_every_reading_has_one_declaration():
    names = [metric for probe in PROBES.values() for metric in probe.metrics]
    assert len(set(names)) == len(names)
    assert all(unit and text for probe in PROBES.values() for unit, text in probe.metrics.values())


@pytest.mark.parametrize("name", [*CURVE_METRICS, *FINAL_METRICS])
def test_metrics_have_unit_direction_and_description(name):
    for table in (CURVE_METRICS, FINAL_METRICS):
        if name in table:
            unit, direction, description = table[name]
            assert unit
            assert direction in ("min", "max", "none")
            assert description


@pytest.mark.parametrize("name", shipped_studies())
def test_shipped_studies_plan_and_fit_their_data(name):
    """At every value of their axis, if they have one."""
    studies = load_studies(name)
    for study in studies:
        entry = DATASETS[study.data.dataset]
        for variant in study.variants.product():
            budget = study.budget
            network = build_network(
                study.network, variant, entry.shape, entry.num_classes, budget.num_steps, budget.batch_size
            )
            trial = trial_of(study, variant, grid(study)[0], 0, "sweep", "")
            assert len(trial.hash) == 16
            assert len(network.units) >= 2  # of one layer there is no slope
        assert stage_sizes(study)[0].num_trials >= len(study.variants.product()) * study.seeds.sweep
        assert BASELINE in study.variants.normalizations
    hashes = {study_hash(study, "") for study in studies}
    assert len(hashes) == len(studies)
    assert {len(one) for one in hashes} == {8}


@pytest.mark.parametrize("name", ["batch-size", "batch-size-small"])
def test_batch_sizes_are_called_what_they_are_and_see_the_same_images(name):
    studies = load_studies(name)
    assert [study.axis.value_name for study in studies] == [str(s.budget.batch_size) for s in studies]
    assert len({study.budget.batch_size * study.budget.num_steps for study in studies}) == 1


def test_shipped_studies_are_different_studies():
    hashes = {study_hash(load_study(name), "") for name in shipped_studies()}
    assert len(hashes) == len(shipped_studies())


def test_trials_of_one_variant_never_share_a_hash():
    study = make_study()
    trials = [
        make_trial(study, variant, learning_rate=rate, seed=seed, stage=stage)
        for variant in ("none-relu", "batch-relu")
        for rate in grid(study)
        for seed in range(3)
        for stage in ("sweep", "confirm")
    ]
    assert len({trial.hash for trial in trials}) == len(trials)
    assert make_trial(study, stage="refine").hash == make_trial(study, stage="sweep").hash  # they train alike


def options_of(section):
    """Every combination of what a family's section leaves to choose among words; its own name aside."""
    words = {
        key: typing.get_args(field.annotation)
        for key, field in section.model_fields.items()
        if key != "family" and typing.get_origin(field.annotation) is typing.Literal
    }
    return [dict(zip(words, values, strict=True)) for values in itertools.product(*words.values())]


OPTIONS = {name: options_of(family.section) for name, family in FAMILIES.items()}
UNDEFINED = {("instance", "mlp"), ("none-skip-init", "cnn"), ("none-skip-init", "mlp")}
"""Of one value there is no variance; without a shortcut there is no branch."""
BATCHES = torch.arange(20 * 4).view(20, 4) % 96


def trained_network(normalization, activation, data, **options):
    """Twenty steps of a small network; the network and its tensors."""
    network = make_network(normalization, activation, num_steps=20, **options)
    start_from_data(network, data.reestimation.take(slice(0, 16)))
    rule, parameters = Sgd(), flatten(network)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    state = TrainState(parameters, rule.moments(parameters), buffers, torch.tensor(0))
    entry = NORMALIZATIONS[normalization]
    clips = {"clip_norm": entry.clip_norm, "unit_clip": entry.unit_clip}
    problem = Problem(network, Layout.of(network), data.train, 16, None, rule, **clips)
    keys, lr = StreamKeys.of(0, torch.device("cpu")), torch.tensor(0.01)
    norms = torch.stack([step_alone(problem, state, index, keys, lr) for index in BATCHES])[:, 2]
    assert norms.isfinite().all(), (activation, options)
    assert (norms > 0).all(), (activation, options)
    return network, problem.layout.split(state.parameters) | state.buffers


def averages_to_a_constant(normalization, activation, placement, head="flatten"):
    """Maps of mean 0 are averaged, as they are or through what is linear where they lie: within sqrt(3)."""
    linear = placement == "after" or activation == "hard-sigmoid"  # the last maps are 2 x 2
    return normalization == "instance" and head == "average" and linear


def is_driven_to_its_ends(normalization, activation, placement, head="flatten"):
    """Outputs on one side of 0, divided by their deviation but not centred, saturate what comes next."""
    return normalization == "batch-scale" and placement == "after" and ACTIVATIONS[activation].saturates


def check_that_images_matter(network, data):
    """To the output, and to the first layer's gradient; in float64, where rounding alone makes 1e-15."""
    images, labels = data.train.take(slice(0, 16)).double(), data.train.labels[:16]
    logits = network.train()(images)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    (gradient,) = torch.autograd.grad(loss, network.units[0].layer.weight)
    assert (logits.amax(0) - logits.amin(0)).max() > 1e-9
    assert gradient.norm() > 1e-9


def check_that_images_do_not_see_each_other(network, images):
    """In float64, as normalizing a few nearly equal values makes much of a rounding."""
    with torch.no_grad():
        alone = torch.cat([network(images[i : i + 1]) for i in range(len(images))])
        torch.testing.assert_close(alone, network(images))


def test_options_are_read_off_the_sections():
    assert [len(OPTIONS[family]) for family in ("cnn", "mlp", "resnet")] == [4, 2, 1]
    assert {"placement": "after", "head": "average"} in OPTIONS["cnn"]


@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_sections_named_as_their_entry(family):
    assert FAMILIES[family].section().family == family
    assert FAMILIES[family].section.__doc__


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_what_trains_saves_loads_and_evaluates_alone_as_in_a_batch(normalization, family, data):
    if fitting_spec(normalization, family) is None:
        assert (normalization, family) in UNDEFINED
        return
    images = data.validation.take(slice(0, 8))
    # Every activation as the network is by default, and some of each kind with all of its options.
    first, *others = OPTIONS[family]
    some = itertools.product(("sigmoid", "tanh", "relu", "hard-sigmoid"), others)
    for activation, options in (*((name, first) for name in ACTIVATIONS), *some):
        if averages_to_a_constant(normalization, activation, **options):
            with pytest.raises(InputError, match=r"network.head: .*'instance' .* found 'average'"):
                make_network(normalization, activation, family=family, **options)
            continue
        network, tensors = trained_network(normalization, activation, data, family=family, **options)
        file = io.BytesIO()
        torch.save(tensors, file)
        file.seek(0)
        reloaded = make_network(normalization, activation, seed=1, family=family, **options)
        reloaded.load_state_dict(torch.load(file))
        together = reloaded.eval()(images)
        assert together.isfinite().all()
        torch.testing.assert_close(functional_call(network.eval(), tensors, (images,)), together)
        check_that_images_do_not_see_each_other(reloaded.double(), images.double())
        # In training for one activation, for all are elementwise.
        if activation == "tanh" and not NORMALIZATIONS[normalization].couples_examples:
            check_that_images_do_not_see_each_other(reloaded.train(), images.double())
        if not is_driven_to_its_ends(normalization, activation, **options):
            check_that_images_matter(reloaded, data)


def test_the_protocol_says_its_version():
    text = (Path(__file__).parents[1] / "docs" / "protocol.md").read_text(encoding="utf-8")
    assert f"Version {PROTOCOL_VERSION}." in text
