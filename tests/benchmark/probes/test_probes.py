"""What is watched inside: against plain autograd, NumPy and hand-made numbers, and without a trace."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_trials import make_data, make_study, make_trial, replica_of, run_trial, without_timings
from torch import nn

from benchmark.base import seeding
from benchmark.probes import PROBES, Probe, activations, landscape
from benchmark.probes._view import Reading
from benchmark.probes.watch import Probes, ProbesSpec
from benchmark.training import population
from benchmark.training.evaluate import Judgement, Score
from benchmark.training.step import noise_draws
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.networks import NetworkSpec, initialize
from benchmark.variants.networks.cnn import ConvNet
from benchmark.variants.variant import Variant

SPEC = ProbesSpec(enabled=("gradients", "activations"), num_images=20)


def make_probes(
    variant="batch-relu", spec=SPEC, num_evaluations=4, walk_rate=None, noise=None, own_rate=0.03
):
    normalization, _, activation = variant.rpartition("-")
    data = make_data()
    network = ConvNet(NetworkSpec(blocks=3, width=6), Variant(normalization, activation), (1, 8, 8), 4)
    initialize(network, 0)
    probes = Probes(
        spec, network, activation, data.reestimation, num_evaluations, walk_rate, own_rate, noise=noise
    )
    tensors = {name: value.detach().clone() for name, value in network.state_dict().items()}
    return probes, network, tensors, data


def observed(rows):
    return {(row["probe"], row["layer"]): row["value"] for row in rows}


def view_of(preactivations, activation="relu", **others):
    """What a probe reads, made up."""
    others = {"threshold": lambda layer: None, **others}
    return SimpleNamespace(preactivations=preactivations, activation=ACTIVATIONS[activation], **others)


@pytest.mark.parametrize("variant", ["none-sigmoid", "batch-relu", "batch-tanh"])
def test_gradients_are_plain_autograds(variant):
    probes, network, tensors, data = make_probes(variant)
    updates = {name: 0.5 * value for name, value in tensors.items() if value.is_floating_point()}
    found = observed(probes.observe(7, tensors, updates))

    network.train()
    images = (data.reestimation.images[:20].float() - data.train.offset) * data.train.scale
    nn.CrossEntropyLoss()(network(images), data.reestimation.labels[:20]).backward()
    for layer, module in network.weighted_layers().items():
        gradient, norm = module.weight.grad.norm().item(), module.weight.norm().item()
        assert found["gradient_norm", layer] == pytest.approx(gradient, rel=1e-4)
        assert found["gradient_ratio", layer] == pytest.approx(gradient / norm, rel=1e-4)
        assert found["weight_norm", layer] == pytest.approx(norm, rel=1e-5)
        assert found["update_ratio", layer] == pytest.approx(0.5, rel=1e-5)


def loss_and_effective(network, data):
    """A plain pass, with what layers multiply by as their weights: norms of these times their gradients."""
    images = (data.reestimation.images[:20].float() - data.train.offset) * data.train.scale
    for unit in network.units:
        if unit.reparametrization is not None:
            with torch.no_grad():
                unit.layer.weight.copy_(unit.reparametrization(unit.layer.weight))
            unit.reparametrization = None
    network.train()
    nn.CrossEntropyLoss()(network(images), data.reestimation.labels[:20]).backward()
    return {
        layer: module.weight.grad.norm().item() * module.weight.norm().item()
        for layer, module in network.weighted_layers().items()
    }


@pytest.mark.parametrize("variant", ["none-sigmoid", "batch-relu", "weight-relu", "weight-std-group2-tanh"])
def test_gradient_times_weight_is_of_what_the_layer_multiplies_by(variant):
    probes, network, tensors, data = make_probes(variant)
    found = observed(probes.observe(7, tensors, None))
    for layer, expected in loss_and_effective(network, data).items():
        assert found["gradient_times_weight", layer] == pytest.approx(expected, rel=1e-4)
        if found["weight_norm", layer] and variant in ("none-sigmoid", "batch-relu"):
            product = found["gradient_norm", layer] * found["weight_norm", layer]
            assert found["gradient_times_weight", layer] == pytest.approx(product, rel=1e-5)


@pytest.mark.parametrize("variant", ["weight-relu", "weight-std-group2-relu", "batch-no-affine-relu"])
def test_the_scale_of_weights_that_does_nothing_changes_the_gradient_alone(variant):
    """d/d(aW) = (1/a) d/dW where no output depends on the weights' scale (1502.03167, section 3.3)."""
    probes, _, tensors, _ = make_probes(variant)
    before = observed(probes.observe(7, tensors, None))
    scaled = {name: 4 * value if name.endswith("conv.weight") else value for name, value in tensors.items()}
    after = observed(probes.observe(7, scaled, None))
    for layer in ("conv1", "conv2", "conv3"):
        assert after["gradient_norm", layer] == pytest.approx(before["gradient_norm", layer] / 4, rel=0.05)
        assert after["gradient_times_weight", layer] == pytest.approx(
            before["gradient_times_weight", layer], rel=0.05
        )


def test_activations_are_those_of_a_plain_pass():
    probes, network, tensors, data = make_probes("batch-sigmoid")
    found = observed(probes.observe(0, tensors, None))
    network.train()  # batch statistics
    x = (data.reestimation.images[:20].float() - data.train.offset) * data.train.scale
    for depth, unit in enumerate(network.units, start=1):
        before = unit.norm(unit.conv(x)).detach()
        x = unit.activation(before)
        x = nn.functional.max_pool2d(x, 2) if depth in (2, 4) else x
        values = before.numpy()
        slope = np.exp(-values) / (1 + np.exp(-values)) ** 2
        unit_values = values[:, 0, values.shape[2] // 2, values.shape[3] // 2]
        layer = f"conv{depth}"
        assert found["preactivation_mean", layer] == pytest.approx(values.mean(), abs=1e-5)
        assert found["preactivation_std", layer] == pytest.approx(values.std(ddof=1), rel=1e-4)
        for percent in (15, 50, 85):
            expected = np.percentile(unit_values, percent)
            assert found[f"preactivation_p{percent}", layer] == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert found["saturated_share", layer] == pytest.approx((slope < 0.05 * 0.25).mean(), abs=1e-3)


def test_rows_name_their_layer_by_depth():
    probes, _, tensors, _ = make_probes("batch-relu")
    rows = probes.observe(30, tensors, None)
    layers = [*(f"conv{depth}" for depth in range(1, 7)), "dense"]
    assert {row["step"] for row in rows} == {30}
    assert {(row["layer"], row["index"]) for row in rows} == {(name, i) for i, name in enumerate(layers)}
    named = {name for probe in SPEC.enabled for name in PROBES[probe].metrics}
    # Before the first step there is no update; of ReLU nothing saturates.
    assert {row["probe"] for row in rows} == named - {"update_ratio", "saturated_share"}
    assert not any(row["layer"] == "dense" for row in rows if row["probe"].startswith("preactivation"))


def test_saturated_is_below_a_twentieth_of_the_greatest_slope():
    # sigmoid'(x) = 0.0125 at |x| = 4.357; tanh'(x) = 0.05 at |x| = 2.178
    x = torch.tensor([0.0, 4.35, -4.35, 4.37, -4.37, 100.0, -1.0, 1.0]).view(2, 4, 1, 1)
    shares = {r.probe: r.value.item() for r in activations.observe(view_of({"conv1": x}, "sigmoid"))}
    assert shares["saturated_share"] == pytest.approx(3 / 8)
    assert "dead_share" not in shares
    x = torch.tensor([0.0, 2.17, -2.17, 2.19, -2.19, -100.0, -1.0, 1.0]).view(2, 4, 1, 1)
    shares = {r.probe: r.value.item() for r in activations.observe(view_of({"conv1": x}, "tanh"))}
    assert shares["saturated_share"] == pytest.approx(3 / 8)


def test_one_sided_saturation_is_far_to_the_left():
    # elu'(x) = exp(x) = 0.05 at -2.996; selu'(x), by its maximum left of 0, the same; softplus' at -2.944
    x = torch.tensor([0.0, 3.0, 100.0, -2.9, -2.97, -3.1, -4.0, -100.0]).view(2, 4, 1, 1)
    for name, share in (("elu", 3 / 8), ("selu", 3 / 8), ("softplus", 4 / 8)):
        shares = {r.probe: r.value.item() for r in activations.observe(view_of({"conv1": x}, name))}
        assert shares["saturated_share"] == pytest.approx(share)
    readings = activations.observe(view_of({"conv1": x}, "leaky-relu"))
    assert not {"saturated_share", "dead_share"} & {reading.probe for reading in readings}


def test_a_dead_unit_is_zero_on_the_whole_batch():
    x = torch.tensor([[[[-1.0, 0.0]], [[-2.0, 3.0]]], [[[-1.0, -0.5]], [[1.0, -3.0]]]])  # [2, 2, 1, 2]
    shares = {r.probe: r.value.item() for r in activations.observe(view_of({"conv1": x}, "relu"))}
    assert shares["dead_share"] == 0.5  # both units of the first filter
    assert "saturated_share" not in shares


def test_the_walk_on_a_parabola_is_a_closed_form():
    """L(w) = c |w|^2 / 2: grad(w - a g) - g = -a c g, so the effective smoothness is c at every step."""
    c, rate, w = 3.0, 0.1, torch.tensor([1.0, -2.0])
    gradient = c * w

    def displaced(displacement):
        moved = w + displacement
        return c * (moved**2).sum() / 2, c * moved

    view = view_of(
        {},
        loss=c * (w**2).sum() / 2,
        gradient=gradient,
        loss_and_gradient=displaced,
        walk_rate=rate,
        own_rate=10 * rate,
    )
    found = {reading.probe: reading.value.item() for reading in landscape.observe(view)}
    norm = gradient.norm().item()
    losses = [c * 5 / 2 * (1 - c * a) ** 2 for a in (0.0, 0.05, 0.1, 0.2, 0.4)]
    assert found["landscape_smoothness"] == pytest.approx(c, rel=1e-5)
    assert found["landscape_gradient_change_min"] == pytest.approx(0.05 * c * norm, rel=1e-5)
    assert found["landscape_gradient_change_max"] == pytest.approx(0.4 * c * norm, rel=1e-5)
    assert found["landscape_loss_min"] == pytest.approx(min(losses), rel=1e-5)
    assert found["landscape_loss_max"] == pytest.approx(max(losses), rel=1e-5)
    assert found["landscape_smoothness_own_rate"] == pytest.approx(c, rel=1e-5)
    assert found["landscape_gradient_change_max_own_rate"] == pytest.approx(4.0 * c * norm, rel=1e-5)
    assert found["landscape_loss_max_own_rate"] == pytest.approx(c * 5 / 2 * (1 - c * 4.0) ** 2, rel=1e-5)


@pytest.mark.parametrize("variant", ["none-tanh", "batch-noisy-relu"])
def test_the_walk_goes_against_the_networks_own_gradient(variant):
    """Against walks taken by hand; of noise, the draws of the coming step at every point of them."""
    spec = ProbesSpec(enabled=("landscape", "gradients"), num_images=20)
    noise = keyed_noise if variant == "batch-noisy-relu" else None
    probes, network, tensors, data = make_probes(variant, spec, walk_rate=0.1, noise=noise)
    rows = probes.observe(7, tensors, None)
    found = observed(rows)

    images, labels = data.reestimation.take(slice(0, 20)), data.reestimation.labels[:20]
    draws, parameters = noise and noise(20, 7), list(network.parameters())
    network.train()

    def loss_and_gradient():
        loss = nn.functional.cross_entropy(network(images, None, draws), labels)
        return loss.item(), nn.utils.parameters_to_vector(torch.autograd.grad(loss, parameters))

    start = nn.utils.parameters_to_vector(parameters).detach().clone()
    loss, gradient = loss_and_gradient()
    for rate, walk in ((0.1, ""), (0.03, "_own_rate")):
        losses, changes, ratios = [loss], [], []
        for a in (0.5 * rate, rate, 2 * rate, 4 * rate):
            nn.utils.vector_to_parameters(start - a * gradient, parameters)
            there, moved = loss_and_gradient()
            losses.append(there)
            changes.append((moved - gradient).norm().item())
            ratios.append(changes[-1] / (a * gradient).norm().item())
        assert found[f"landscape_loss_min{walk}", "all"] == pytest.approx(min(losses), rel=1e-4)
        assert found[f"landscape_loss_max{walk}", "all"] == pytest.approx(max(losses), rel=1e-4)
        assert found[f"landscape_gradient_change_min{walk}", "all"] == pytest.approx(min(changes), rel=1e-3)
        assert found[f"landscape_gradient_change_max{walk}", "all"] == pytest.approx(max(changes), rel=1e-3)
        assert found[f"landscape_smoothness{walk}", "all"] == pytest.approx(max(ratios), rel=1e-3)
    conv1 = network.weighted_layers()["conv1"].weight.numel()
    assert found["gradient_norm", "conv1"] == pytest.approx(gradient[:conv1].norm().item(), rel=1e-3)
    assert {row["index"] for row in rows if row["probe"].startswith("landscape")} == {-1}


@pytest.mark.parametrize("variant", ["none-tanh", "batch-relu", "batch-noisy-relu"])
def test_covariate_shift_is_what_the_step_of_the_layers_below_does_to_a_gradient(variant):
    """Against networks put together by hand: layers below after the step, the others before it.

    Of noise, all take the draws of the last step.
    """
    spec = ProbesSpec(enabled=("covariate-shift",), num_images=20)
    noise = keyed_noise if variant == "batch-noisy-relu" else None
    probes, network, after, data = make_probes(variant, spec, noise=noise)
    draws = torch.Generator().manual_seed(0)
    names = [name for name, _ in network.named_parameters()]
    updates = {name: 0.1 * torch.randn(after[name].shape, generator=draws) for name in names}
    found = observed(probes.observe(7, after, updates))

    images = (data.reestimation.images[:20].float() - data.train.offset) * data.train.scale

    def gradient(stepped):
        """By name, of the network in which the first `stepped` parameters took a step."""
        own = {n: after[n] if i < stepped else after[n] - updates[n] for i, n in enumerate(names)}
        network.load_state_dict(after | own)
        network.train()
        network.zero_grad()
        draws = noise and noise(20, 6)
        nn.CrossEntropyLoss()(network(images, None, draws), data.reestimation.labels[:20]).backward()
        return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}

    before = gradient(0)
    prefixes = [f"units.{i}." for i in range(6)] + ["dense."]
    layers = [*(f"conv{i}" for i in range(1, 7)), "dense"]
    for layer, prefix in zip(layers, prefixes, strict=True):
        own = [name for name in names if name.startswith(prefix)]
        shifted = gradient(names.index(own[0]))
        old, new = (torch.cat([g[name].flatten() for name in own]) for g in (before, shifted))
        assert found["covariate_shift", layer] == pytest.approx((old - new).norm().item(), rel=1e-3, abs=1e-6)
        relative = found["covariate_shift_relative", layer]
        assert relative == pytest.approx(((old - new).norm() / old.norm()).item(), rel=1e-3, abs=1e-5)
        cosine = nn.functional.cosine_similarity(old, new, dim=0).item()
        assert found["covariate_shift_cosine", layer] == pytest.approx(cosine, abs=1e-4)
    assert found["covariate_shift", "conv1"] == pytest.approx(0, abs=1e-5)
    assert found["covariate_shift", "dense"] > 1e-3
    assert probes.observe(0, after, None) == []


def keyed_noise(num_images, step):
    """Draws for the network of `make_probes`, whose six units have these filters and maps."""
    shapes = [(6, 8, 8), (6, 8, 8), (6, 4, 4), (6, 4, 4), (10, 2, 2), (10, 2, 2)]
    key = seeding.stream_key(5, "noise")
    counts = [(2 + 2 * num_images) * math.prod(shape) for shape in shapes]
    draws = torch.split(seeding.uniform(key, step, (sum(counts),)), counts)
    return [draw.view(-1, *shape) for draw, shape in zip(draws, shapes, strict=True)]


def test_noise_is_on_in_every_probe():
    """Readings differ from the noise-free ones and from another step's, and repeat themselves."""
    spec = ProbesSpec(enabled=tuple(PROBES), num_images=20)
    quiet, _, tensors, _ = make_probes("batch-noisy-relu", spec, walk_rate=0.1)
    noisy = make_probes("batch-noisy-relu", spec, walk_rate=0.1, noise=keyed_noise)[0]
    updates = {name: 0.01 * value for name, value in tensors.items() if value.is_floating_point()}
    rows = noisy.observe(7, tensors, updates)
    assert noisy.observe(7, tensors, updates) == rows
    found = observed(rows)
    for rows in (quiet.observe(7, tensors, updates), noisy.observe(8, tensors, updates)):
        other = observed(rows)
        for name in ("gradient_norm", "preactivation_mean", "covariate_shift"):
            assert found[name, "conv6"] != pytest.approx(other[name, "conv6"], rel=1e-3)
        assert found["landscape_smoothness", "all"] != pytest.approx(
            other["landscape_smoothness", "all"], rel=1e-3
        )


def test_a_trials_probes_take_the_noise_of_its_seed_and_step(tmp_path):
    study = make_study(
        variants={"normalizations": ["none", "batch-noisy"], "reference": "none-relu"},
        probes={"enabled": ["gradients"], "num_images": 20},
    )
    data = make_data()
    trial = make_trial(study, "batch-noisy-relu", seed=3)
    replica = replica_of(trial, data, tmp_path)
    tensors = {name: value.clone() for name, value in replica.network.state_dict().items()}
    unknown = Judgement((Score(1.0, 0.5),) * 2, (Score(1.0, 0.5),) * 2)
    reading = population.Reading(0.0, 0.0, 0.0, 1.0, is_finite=True)
    found = observed(replica.evaluate(replica.state, unknown, reading, None).probes)

    network = replica.network
    network.load_state_dict(tensors)
    network.train()
    draws = noise_draws(network, 20, seeding.stream_key(3, "noise"), 0)
    logits = network(data.reestimation.take(slice(0, 20)), None, draws)
    nn.functional.cross_entropy(logits, data.reestimation.labels[:20]).backward()
    for layer, module in network.weighted_layers().items():
        assert found["gradient_norm", layer] == pytest.approx(module.weight.grad.norm().item(), rel=1e-4)


def test_no_rate_to_walk_at_means_no_walk():
    probes, _, tensors, _ = make_probes("none-tanh", ProbesSpec(enabled=("landscape",)))
    assert probes.observe(0, tensors, None) == []


@pytest.mark.parametrize("walk_rate", [None, 0.5])
def test_watching_leaves_the_tensors_alone(walk_rate):
    spec = ProbesSpec(enabled=tuple(PROBES))
    probes, network, tensors, _ = make_probes("batch-relu", spec, walk_rate=walk_rate)
    kept = {name: value.clone() for name, value in tensors.items()}
    own = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.random.get_rng_state()
    first = probes.observe(0, tensors, None)
    assert probes.observe(0, tensors, None) == first
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensors[name], kept[name]) for name in kept)
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())
    assert not any(unit.activation._forward_pre_hooks for unit in network.units)


@pytest.mark.parametrize(("every", "expected"), [(1, [0, 1, 2, 3, 4, 5]), (2, [0, 2, 4, 5]), (10, [0, 5])])
def test_when_they_are_due(every, expected):
    spec = ProbesSpec(enabled=("gradients",), every=every)
    probes = make_probes(spec=spec, num_evaluations=5)[0]
    assert [evaluation for evaluation in range(6) if probes.due(evaluation)] == expected


def count_passes(network):
    passes = []
    network.register_forward_pre_hook(lambda module, inputs: passes.append(module))
    return passes


def test_a_probe_that_reads_weights_alone_pays_no_pass(monkeypatch):
    def observe(view):
        for layer, weight in view.weights.items():
            yield Reading("greatest", layer, weight.abs().max())
        for layer, update in view.updates.items():
            yield Reading("greatest_update", layer, update.abs().max())

    monkeypatch.setattr("benchmark.probes.watch.PROBES", {"made-up": Probe(observe, {})})
    probes, network, tensors, _ = make_probes(spec=ProbesSpec(enabled=("made-up",)))
    passes = count_passes(network)
    updates = {name: 0.5 * value for name, value in tensors.items() if value.is_floating_point()}
    found = observed(probes.observe(7, tensors, updates))
    assert found["greatest", "conv1"] == tensors["units.0.conv.weight"].abs().max().item()
    assert found["greatest_update", "dense"] == pytest.approx(found["greatest", "dense"] / 2)
    assert not passes


@pytest.mark.parametrize(
    ("enabled", "num_passes"),
    [
        (("gradients",), 1),
        (("activations",), 1),
        (("gradients", "activations"), 1),
        (("landscape",), 1 + 4 + 4),  # and four steps of each walk
        (("covariate-shift",), 7),  # before the step, and after that of the 1, 2, ... 6 layers below
        (tuple(PROBES), 1 + 4 + 4 + 7),
    ],
)
def test_no_pass_is_taken_twice(enabled, num_passes):
    probes, network, tensors, _ = make_probes(spec=ProbesSpec(enabled=enabled), walk_rate=0.1)
    passes = count_passes(network)
    updates = {name: 0.5 * value for name, value in tensors.items() if value.is_floating_point()}
    assert probes.observe(7, tensors, updates)
    assert len(passes) == num_passes


def test_a_walk_at_the_same_rate_is_not_taken_twice():
    spec = ProbesSpec(enabled=("landscape",))
    probes, network, tensors, _ = make_probes(spec=spec, walk_rate=0.1, own_rate=0.1)
    passes = count_passes(network)
    found = observed(probes.observe(7, tensors, None))
    assert len(passes) == 1 + 4
    assert found["landscape_smoothness", "all"] == found["landscape_smoothness_own_rate", "all"]


def test_a_trials_own_walk_is_at_its_own_rate(tmp_path):
    """At initialization, at two rates: the shared walk is the same, the own one another."""
    data, study = make_data(), make_study(probes={"enabled": ["landscape"], "num_images": 20})
    found = []
    for rate in (0.1, 0.4):
        trial = make_trial(study, "batch-relu", learning_rate=rate, walk_rate=0.1)
        evaluations, _ = run_trial(trial, data, tmp_path / str(rate))
        found.append(observed(evaluations[0].probes))
    assert found[0]["landscape_loss_max", "all"] == found[1]["landscape_loss_max", "all"]
    assert found[0]["landscape_loss_max_own_rate", "all"] == found[0]["landscape_loss_max", "all"]
    assert found[1]["landscape_loss_max_own_rate", "all"] != found[1]["landscape_loss_max", "all"]


def test_none_enabled_is_never_due():
    assert not any(make_probes(spec=ProbesSpec())[0].due(evaluation) for evaluation in range(5))


@pytest.mark.parametrize("variant", ["batch-relu", "none-sigmoid", "batch-noisy-relu"])
def test_probes_do_not_change_the_trials_numbers(variant, tmp_path):
    """To the bit: curves, outcome and weights."""
    data = make_data()
    sections = {
        "variants": {"normalizations": ["none", "batch", "batch-noisy"], "activations": ["relu", "sigmoid"]},
        "budget": {"num_steps": 50, "eval_every": 5},
    }
    without = make_trial(make_study(**sections), variant)
    study = make_study(**sections, probes={"enabled": list(PROBES), "every": 3, "num_images": 20})
    watched = make_trial(study, variant, walk_rate=0.3)

    plain, plain_outcome = run_trial(without, data, tmp_path / "plain")
    evaluations, outcome = run_trial(watched, data, tmp_path / "watched")
    assert [without_timings(e.row) for e in evaluations] == [without_timings(e.row) for e in plain]
    assert outcome.status == plain_outcome.status
    assert without_timings(outcome.metrics) == without_timings(plain_outcome.metrics)
    assert not any(e.probes for e in plain)
    assert [bool(e.probes) for e in evaluations] == [i % 3 == 0 or i == 10 for i in range(11)]
    for name in ("last.pt", "best.pt"):
        a, b = torch.load(tmp_path / "plain" / name), torch.load(tmp_path / "watched" / name)
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_the_update_is_that_of_the_intervals_last_step(tmp_path):
    """What five steps leave, minus what the first four of them leave."""
    data, weights = make_data(), {}
    for num_steps in (4, 5):
        study = make_study(
            search={"sampler": "fixed", "low": 0.1, "high": 0.1, "num_rates": 1},
            budget={"num_steps": num_steps, "eval_every": num_steps},
            probes={"enabled": ["gradients"]},
        )
        evaluations, _ = run_trial(make_trial(study), data, tmp_path / str(num_steps))
        weights[num_steps] = torch.load(tmp_path / str(num_steps) / "last.pt")
    found = observed(evaluations[-1].probes)
    for depth in range(6):
        before, after = (weights[n][f"units.{depth}.conv.weight"] for n in (4, 5))
        expected = ((after - before).norm() / after.norm()).item()
        assert found["update_ratio", f"conv{depth + 1}"] == pytest.approx(expected, rel=1e-4)
