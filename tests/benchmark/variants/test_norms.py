"""Every normalization against its formula written out, or the identity that its paper states."""

import math
from dataclasses import replace

import pytest
import torch
from made_networks import fitting_spec, make_network
from made_trials import make_data, step_alone
from scipy import stats
from torch import nn

from benchmark.base import seeding
from benchmark.base.errors import InputError
from benchmark.training.evaluate import reestimate
from benchmark.training.optimizers import Sgd
from benchmark.training.state import Layout, TrainState, flatten
from benchmark.training.step import Problem, StreamKeys, noise_draws
from benchmark.variants.data_start import start_from_data
from benchmark.variants.networks import NetworkSpec, build_network
from benchmark.variants.normalization import Place
from benchmark.variants.norms import NORMALIZATIONS
from benchmark.variants.variant import Variant

EPS = 1e-3
SHAPE = (20, 3, 2)
CPU = torch.device("cpu")


def build(name, shape=SHAPE, **place):
    """A normalization in float64 whose scale and shift are not the initial ones."""
    norm = NORMALIZATIONS[name].build(Place(shape, **place)).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=generator, dtype=torch.float64))
    return norm


def maps(num=6, shape=SHAPE, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(num, *shape, generator=generator, dtype=torch.float64) + 2


def standardized(x, dims):
    mean = x.mean(dims, keepdim=True)
    return (x - mean) / ((x - mean).square().mean(dims, keepdim=True) + EPS).sqrt()


def affine(norm, x):
    return x * norm.weight[:, None, None] + norm.bias[:, None, None]


def grouped(x, num_groups):
    n, c, h, w = x.shape
    return standardized(x.reshape(n, num_groups, c // num_groups, h, w), (2, 3, 4)).reshape(x.shape)


# Of one that is not here the contract tests alone are asked; a new one is best written out here too.
FORMULAS = {
    "none": lambda norm, x: x,
    "batch": lambda norm, x: affine(norm, standardized(x, (0, 2, 3))),
    "batch-fast": lambda norm, x: affine(norm, standardized(x, (0, 2, 3))),
    "batch-no-affine": lambda norm, x: standardized(x, (0, 2, 3)),
    "batch-last": lambda norm, x: x,  # but in the last unit
    "batch-noisy": lambda norm, x: affine(norm, standardized(x, (0, 2, 3))),  # without its noise
    "batch-renorm": lambda norm, x: affine(norm, standardized(x, (0, 2, 3))),  # at first: r = 1, d = 0
    "layer": lambda norm, x: affine(norm, standardized(x, (1, 2, 3))),
    "layer-channel": lambda norm, x: affine(norm, standardized(x, 1)),
    **{f"group{g}": lambda norm, x, g=g: affine(norm, grouped(x, g)) for g in (2, 4, 5, 10, 20)},
    **{f"weight-std-group{g}": lambda norm, x, g=g: affine(norm, grouped(x, g)) for g in (2, 4, 10)},
    "instance": lambda norm, x: affine(norm, standardized(x, (2, 3))),
    "rms": lambda norm, x: (
        x / (x.square().mean((1, 2, 3), keepdim=True) + EPS).sqrt() * norm.weight[:, None, None]
    ),
    "weight": lambda norm, x: x,
    "weight-mean-batch": lambda norm, x: x - x.mean((0, 2, 3), keepdim=True) + norm.bias[:, None, None],
    "none-noisy": lambda norm, x: x,  # without its noise
    **{name: lambda norm, x: x for name, entry in NORMALIZATIONS.items() if entry.is_competitor},
    "dynamic-tanh": lambda norm, x: affine(norm, torch.tanh(norm.alpha * x)),
    "filter-response": lambda norm, x: affine(norm, x / (x.square().mean((2, 3), keepdim=True) + EPS).sqrt()),
    "batch-centre": lambda norm, x: affine(norm, x - x.mean((0, 2, 3), keepdim=True)),
    "batch-scale": lambda norm, x: affine(
        norm, x / (x.var((0, 2, 3), correction=0, keepdim=True) + EPS).sqrt()
    ),
    # Six examples are one group: no group of 4, 8 or 16 divides them. Whole groups: `TestGhost`.
    **{f"ghost{k}": lambda norm, x: affine(norm, standardized(x, (0, 2, 3))) for k in (4, 8, 16)},
}


@pytest.mark.parametrize("name", FORMULAS)
def test_training_is_the_formula(name):
    norm, x = build(name), maps()
    torch.testing.assert_close(norm.train()(x), FORMULAS[name](norm, x))


def test_batch_last_is_batch_normalization_in_the_last_unit():
    norm, x = build("batch-last", is_last=True), maps()
    torch.testing.assert_close(norm.train()(x), affine(norm, standardized(x, (0, 2, 3))))


EXAMPLEWISE = [name for name, entry in NORMALIZATIONS.items() if not entry.couples_examples]


@pytest.mark.parametrize("name", EXAMPLEWISE)
def test_what_does_not_couple_examples_evaluates_as_it_trains(name):
    norm, x = build(name), maps()
    trained = norm.train()(x)
    torch.testing.assert_close(norm.eval()(x), trained)
    torch.testing.assert_close(norm.train()(x[2:3]), trained[2:3])  # a batch of one
    assert not list(norm.buffers())


COUPLED = [
    "batch",
    "batch-centre",
    "batch-fast",
    "batch-last",
    "batch-no-affine",
    "batch-noisy",
    "batch-renorm",
    "batch-scale",
    "ghost4",
    "ghost8",
    "ghost16",
    "weight-mean-batch",
]


@pytest.mark.parametrize("name", COUPLED)
def test_batch_norms_evaluate_by_running_statistics(name):
    """After many batches: those of all of them, so evaluation is the formula with these."""
    norm, batches = build(name, is_last=True), [maps(seed=seed) for seed in range(40)]
    for x in batches:
        norm.train()(x)
    mean, std, variance = 0.0, 1.0, 1.0
    for number, x in enumerate(batches, start=1):
        momentum = {"batch-fast": 0.1, "batch-renorm": max(1 / number, 0.02)}.get(name, 0.01)
        mean = mean + momentum * (x.mean((0, 2, 3)) - mean)
        variance = variance + momentum * (x.var((0, 2, 3)) - variance)
        std = std + momentum * ((x.var((0, 2, 3), correction=0) + EPS).sqrt() - std)
    x = maps(seed=99)
    centred = x - mean[:, None, None]
    scale = std if name == "batch-renorm" else (variance + EPS).sqrt()
    expected = {
        "weight-mean-batch": lambda: centred + norm.bias[:, None, None],
        "batch-no-affine": lambda: centred / scale[:, None, None],
        "batch-centre": lambda: affine(norm, centred),
        "batch-scale": lambda: affine(norm, x / scale[:, None, None]),
    }.get(name, lambda: affine(norm, centred / scale[:, None, None]))()
    together = norm.eval()(x)
    torch.testing.assert_close(together, expected)
    torch.testing.assert_close(norm(x[3:4]), together[3:4])


@pytest.mark.parametrize(
    ("a", "b"),
    [("layer", nn.GroupNorm(1, 20, eps=EPS)), ("instance", nn.GroupNorm(20, 20, eps=EPS))],
)
def test_groups_of_all_or_of_one_channel(a, b):
    """Section 3.1 of 1803.08494: G = 1 is layer, G = C instance normalization."""
    norm, x = build(a), maps()
    other = b.double()
    other.load_state_dict({"weight": norm.weight, "bias": norm.bias})
    torch.testing.assert_close(norm(x), other(x))


def test_layer_channel_at_one_position_is_layer():
    x = maps(shape=(20, 1, 1))
    a, b = (build(name, (20, 1, 1)) for name in ("layer", "layer-channel"))
    torch.testing.assert_close(a(x), b(x))


def test_rms_of_centred_input_is_layer():
    x = maps()
    x = x - x.mean((1, 2, 3), keepdim=True)
    layer, rms = (NORMALIZATIONS[name].build(Place(SHAPE)).double() for name in ("layer", "rms"))
    torch.testing.assert_close(layer(x), rms(x))


@pytest.mark.parametrize("name", [name for name in NORMALIZATIONS if "group" in name])
def test_groups_that_do_not_divide_are_refused_with_those_that_do(name):
    with pytest.raises(
        InputError, match=rf"'{name}': expected .* 13 filters \(1, 13\), found \d+: choose another"
    ):
        NORMALIZATIONS[name].build(Place((13, 4, 4)))


def test_groups_of_one_value_are_refused():
    NORMALIZATIONS["group20"].build(Place((20, 2, 1)))
    with pytest.raises(InputError, match=r"20 filters \(1, 2, 4, 5, 10\), found 20"):
        NORMALIZATIONS["group20"].build(Place((20, 1, 1)))
    with pytest.raises(InputError, match="'instance': expected maps of more than one position, found 1 x 1"):
        NORMALIZATIONS["instance"].build(Place((20, 1, 1)))


@pytest.mark.parametrize("name", COUPLED)
def test_a_batch_of_one(name):
    """Has statistics over its positions; where there is one position, it is refused."""
    norm, x = build(name, is_last=True), maps(1)
    assert norm.train()(x).isfinite().all()
    if NORMALIZATIONS[name].group_size is not None:
        return  # no study has such a batch
    deep = NetworkSpec(blocks=4, width=3)
    for batch_size in (1, 2):
        build_network(NetworkSpec(blocks=3, width=3), Variant(name, "relu"), (1, 8, 8), 4, 100, batch_size)
    build_network(deep, Variant(name, "relu"), (1, 8, 8), 4, 100, 2)
    with pytest.raises(InputError, match=rf"batch_size: expected at least 2 .*'{name}'.* found 1"):
        build_network(deep, Variant(name, "relu"), (1, 8, 8), 4, 100, 1)


COSTS = {  # beyond the unnormalized layer of C filters
    **dict.fromkeys(FORMULAS, lambda c: 2 * c),
    **dict.fromkeys(("none", "none-noisy", "batch-no-affine", "batch-last"), lambda c: 0),
    **{name: lambda c: 0 for name, entry in NORMALIZATIONS.items() if entry.is_competitor},
    "rms": lambda c: c,
    "weight": lambda c: c,
    "weight-mean-batch": lambda c: c,  # g and b, less the layer's bias
    "filter-response": lambda c: 3 * c,  # with its unit's thresholds
    "dynamic-tanh": lambda c: 2 * c + 1,
    "none-agc": lambda c: c,
}


@pytest.mark.parametrize("name", COSTS)
def test_what_it_costs_in_parameters(name):
    place = Place((60, 4, 4))
    assert NORMALIZATIONS[name].num_parameters(place) == COSTS[name](60)


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_what_it_costs_is_what_its_network_has_more(name):
    spec = fitting_spec(name)
    networks = {
        which: build_network(spec, Variant(which, "relu"), (1, 8, 8), 4, 1000, 16) for which in (name, "none")
    }
    sizes = {which: sum(p.numel() for p in network.parameters()) for which, network in networks.items()}
    places = [unit.place for unit in networks[name].hidden().values()]
    expected = sum(NORMALIZATIONS[name].num_parameters(place) for place in places)
    assert sizes[name] - sizes["none"] == expected


def test_what_costs_something_at_some_places_alone():
    for name, where, cost in (("batch-last", "is_last", 2 * 60), ("none-skip-init", "ends_branch", 1)):
        assert NORMALIZATIONS[name].num_parameters(Place((60, 4, 4), **{where: True})) == cost


def test_batch_last_normalizes_the_last_unit_alone():
    network = make_network("batch-last")
    assert [isinstance(unit.norm, nn.BatchNorm2d) for unit in network.units] == [False] * 5 + [True]
    mlp = make_network("batch-last", family="mlp")
    assert [isinstance(unit.norm, nn.BatchNorm2d) for unit in mlp.units] == [False, False, True]


class TestBatchRenorm:
    @pytest.mark.parametrize(("num_steps", "alpha"), [(100, 0.2), (1000, 0.02), (2000, 0.01), (10_000, 0.01)])
    def test_the_averages_window_is_within_the_first_twentieth(self, num_steps, alpha):
        assert build("batch-renorm", num_steps=num_steps).momentum == pytest.approx(alpha)

    def test_the_first_batches_are_averaged_evenly(self):
        norm, batches = build("batch-renorm", num_steps=10_000), [maps(seed=seed) for seed in range(5)]
        for x in batches:
            norm.train()(x)
        together = torch.stack(batches)
        torch.testing.assert_close(norm.running_mean, together.mean((0, 1, 3, 4)))
        stds = [(x.var((0, 2, 3), correction=0) + EPS).sqrt() for x in batches]
        torch.testing.assert_close(norm.running_std, torch.stack(stds).mean(0))

    def test_limits_follow_the_papers_schedule(self):
        norm = build("batch-renorm", num_steps=100_000)  # 1% of it is a thousand steps: the paper's own
        expected = {0: (1, 0), 5_000: (1, 0), 15_000: (1 + 4 / 7, 2.5), 25_000: (15 / 7, 5), 40_000: (3, 5)}
        for taken, limits in (expected | {90_000: (3, 5)}).items():
            norm.num_batches_tracked.fill_(taken)
            assert [limit.item() for limit in norm.limits()] == pytest.approx(limits)

    def test_late_it_is_the_papers_algorithm(self):
        norm, x = build("batch-renorm"), maps()
        norm.num_batches_tracked.fill_(1000)
        norm.running_mean.copy_(torch.linspace(-40, 44, 20))  # some d within its limit of 5, some beyond
        norm.running_std.copy_(torch.linspace(0.5, 15, 20))  # some r within 1/3 ... 3
        mean, std = x.mean((0, 2, 3)), (x.var((0, 2, 3), correction=0) + EPS).sqrt()
        raw_r, raw_d = std / norm.running_std, (mean - norm.running_mean) / norm.running_std
        r, d = raw_r.clamp(1 / 3, 3), raw_d.clamp(-5, 5)
        for raw, clipped in ((raw_r, r), (raw_d, d)):
            assert 0 < (raw == clipped).sum() < 20
        normalized = (x - mean[:, None, None]) / std[:, None, None] * r[:, None, None] + d[:, None, None]
        torch.testing.assert_close(norm.train()(x), affine(norm, normalized))

    def test_unclipped_it_evaluates_as_it_trains(self):
        """The paper's point: both are the same function of one example."""
        norm, x = build("batch-renorm"), maps()
        norm.num_batches_tracked.fill_(1000)
        norm.running_mean.fill_(1.5)
        norm.running_std.fill_(2.5)
        evaluated = norm.eval()(x)
        torch.testing.assert_close(norm.train()(x), evaluated)

    def test_no_gradient_flows_through_r_and_d(self):
        """So it is batch normalization's gradient, times r."""
        x, norm = maps().requires_grad_(), build("batch-renorm")
        batch = build("batch")
        batch.load_state_dict({**batch.state_dict(), "weight": norm.weight, "bias": norm.bias})
        norm.num_batches_tracked.fill_(1000)
        norm.running_std.fill_(2.0)
        cotangent = maps(seed=5)
        std = (x.var((0, 2, 3), correction=0) + EPS).sqrt().detach()
        (found,) = torch.autograd.grad((norm.train()(x) * cotangent).sum(), x)
        (expected,) = torch.autograd.grad((batch.train()(x) * cotangent).sum(), x)
        torch.testing.assert_close(found, expected * (std / 2.0)[None, :, None, None])


class TestNoise:
    def test_is_the_stated_distribution(self):
        norm, n = NORMALIZATIONS["batch-noisy"].build(Place((3, 4, 4))), 4000
        uniforms = seeding.uniform(seeding.stream_key(0, "noise"), 0, (2 + 2 * n, 3, 4, 4))
        zeros, ones = torch.zeros(n, 3, 4, 4), torch.ones(n, 3, 4, 4)
        norm.weight.data.zero_()  # what comes out of the normalization is the shift then: 0, or 1
        shift = norm(zeros, uniforms)
        norm.bias.data.fill_(1.0)
        scale = norm(ones, uniforms) - shift
        mean, sigma = uniforms[0, 1, 0, 0].item() - 0.5, 1 + 0.25 * uniforms[1, 1, 0, 0].item()
        uniform, normal = stats.uniform(mean - 0.1, 0.2), stats.norm(sigma, 0.1)
        for i, j in ((0, 0), (2, 3)):
            assert stats.kstest(shift[:, 1, i, j].detach(), uniform.cdf).pvalue > 1e-3
            assert stats.kstest(scale[:, 1, i, j].detach(), normal.cdf).pvalue > 1e-3

    @pytest.mark.parametrize("size", [1, 8, 32])
    def test_a_channels_mean_moves_as_far_on_a_large_map_as_on_a_small(self, size):
        """Positions count as examples (1805.11604, appendix A): one mu, of variance 1/12, per channel.

        Had each position its own, a channel's mean would vary by 1 / size^2 of that.
        """
        channels, n = 1000, 8
        noise, zeros = NORMALIZATIONS["none-noisy"].build(Place((channels, size, size))), torch.zeros(())
        uniforms = torch.rand(
            (2 + 2 * n, channels, size, size), generator=torch.Generator().manual_seed(size)
        )
        means = noise(zeros.expand(n, channels, size, size), uniforms).mean((0, 2, 3))
        assert means.var().item() == pytest.approx(1 / 12 + 0.2**2 / 12 / (n * size**2), rel=0.1)
        uniform = stats.uniform(-0.5, 1.0)
        assert size == 1 or stats.kstest(means, uniform.cdf).pvalue > 1e-3

    def test_the_plain_net_takes_the_same(self):
        """Batch normalization's noise, after it, is the control's on what batch normalization gives."""
        x = maps()
        draws = torch.rand((2 + 2 * len(x), *SHAPE), generator=torch.Generator().manual_seed(0)).double()
        noise = build("none-noisy")
        assert torch.equal(build("batch-noisy")(x, draws), noise(build("batch")(x), draws))
        assert torch.equal(noise(x), x)

    def test_is_finite_at_both_ends_of_the_draws(self):
        norm, x = NORMALIZATIONS["batch-noisy"].build(Place((1, 1, 1))), torch.tensor([0.0, 1.0])
        for end in (0.0, 1 - 2.0**-24):
            assert norm(x.view(2, 1, 1, 1), torch.full((6, 1, 1, 1), end)).isfinite().all()

    def test_depends_on_seed_step_and_layer_alone(self):
        network, other = make_network("batch-noisy"), make_network("batch-noisy", "tanh", seed=1)
        draws = noise_draws(network, 5, seeding.stream_key(0, "noise"), torch.tensor(3))
        assert [tuple(d.shape) for d in draws] == [(12, *unit.place.shape) for unit in network.units]
        again = noise_draws(other, 5, seeding.stream_key(0, "noise"), torch.tensor(3))
        assert all(torch.equal(a, b) for a, b in zip(draws, again, strict=True))
        assert not torch.equal(draws[2], draws[3])
        for seed, position in ((0, 4), (1, 3)):
            changed = noise_draws(network, 5, seeding.stream_key(seed, "noise"), torch.tensor(position))
            assert not torch.equal(changed[0], draws[0])
        assert noise_draws(make_network("batch"), 5, seeding.stream_key(0, "noise"), torch.tensor(0)) is None

    def test_is_in_training_steps_and_nowhere_else(self):
        data, losses = make_data(), {}
        for name in ("batch", "batch-noisy"):
            network, rule = make_network(name), Sgd()
            parameters = flatten(network)
            buffers = {key: buffer.clone() for key, buffer in network.named_buffers()}
            state = TrainState(parameters, rule.moments(parameters), buffers, torch.tensor(0))
            problem = Problem(network, Layout.of(network), data.train, 16, None, rule)
            images = data.train.take(torch.arange(16))
            losses[name] = [
                step_alone(problem, state, torch.arange(16), StreamKeys.of(0, CPU), torch.tensor(0.0))[
                    0
                ].item()
                for _ in range(2)
            ]
            losses[name].append(network.eval()(images).sum().item())
        assert losses["batch"][2] == losses["batch-noisy"][2]
        assert abs(losses["batch"][0] - losses["batch-noisy"][0]) > 0.01
        assert losses["batch-noisy"][0] != losses["batch-noisy"][1]


class TestWeights:
    @pytest.mark.parametrize("shape", [(4, 3, 3, 3), (4, 7)])
    def test_weight_norm_is_its_length_and_direction(self, shape):
        reparametrize = NORMALIZATIONS["weight"].reparametrize(Place((4, 2, 2)))
        with torch.no_grad():
            reparametrize.scale.copy_(torch.tensor([0.5, 1.0, 2.0, 3.0]))
        v = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        w = reparametrize(v).flatten(1)
        torch.testing.assert_close(w.norm(dim=1), reparametrize.scale)
        torch.testing.assert_close(nn.functional.cosine_similarity(w, v.flatten(1)), torch.ones(4))
        reference = nn.utils.parametrizations.weight_norm(nn.Linear(v[0].numel(), 4))
        reference.parametrizations.weight.original0.data = reparametrize.scale.detach()[:, None]
        reference.parametrizations.weight.original1.data = v.flatten(1)
        torch.testing.assert_close(w, reference.weight)

    def test_weight_norms_gradient_is_orthogonal_to_v(self):
        """1602.07868, section 2.1: so ||v|| can only grow, and it is invariant to v's scale."""
        reparametrize = NORMALIZATIONS["weight"].reparametrize(Place((4, 2, 2)))
        v = torch.randn(4, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
        (gradient,) = torch.autograd.grad(reparametrize(v).pow(3).sum(), v)
        assert (gradient * v).sum(1).abs().max() < 1e-5 * gradient.norm()
        torch.testing.assert_close(reparametrize(7 * v), reparametrize(v))

    @pytest.mark.parametrize("shape", [(4, 3, 3, 3), (4, 27)])
    def test_weight_standardization(self, shape):
        w = 2 + 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
        entry = NORMALIZATIONS["weight-std-group10"]
        found = entry.reparametrize(Place((4, 2, 2)))(w).flatten(1)
        torch.testing.assert_close(found.mean(1), torch.zeros(4), atol=1e-6, rtol=0)
        torch.testing.assert_close(found.std(1), torch.ones(4), atol=1e-4, rtol=0)
        numbers = w.flatten(1).numpy()
        expected = (numbers - numbers.mean(1, keepdims=True)) / (numbers.std(1, ddof=1, keepdims=True) + 1e-5)
        torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-5, rtol=1e-5)
        # After the activation: 2101.08692.
        scaled = entry.reparametrize(Place((4, 2, 2), placement="after"))(w).flatten(1)
        assert torch.equal(scaled, found / 27**0.5)

    @pytest.mark.parametrize("placement", ["before", "after"])
    @pytest.mark.parametrize("family", ["cnn", "mlp"])
    @pytest.mark.parametrize("name", ["weight", "weight-mean-batch", "weight-std-group2"])
    def test_networks_written_out(self, name, family, placement):
        """The layer multiplies by the function of its weights, then comes the normalization."""
        network = make_network(name, "tanh", family=family, placement=placement).double().train()
        generator = torch.Generator().manual_seed(0)
        for parameter in network.parameters():  # no scale of 1, no shift or bias of 0
            parameter.data.add_(torch.rand(parameter.shape, generator=generator, dtype=torch.float64) / 4)

        def weight(unit):
            v = unit.layer.weight
            if name == "weight-std-group2":
                std, mean = torch.std_mean(v.flatten(1), 1)
                scale = 1 if placement == "before" else v[0].numel() ** -0.5
                return (scale * (v.flatten(1) - mean[:, None]) / (std[:, None] + 1e-5)).view_as(v)
            lengths = v.flatten(1).square().sum(1).sqrt()
            return (v.flatten(1) * (unit.reparametrization.scale / lengths)[:, None]).view_as(v)

        def normalized(unit, x):
            if name == "weight":
                return x
            shift = unit.norm.bias[:, None, None]
            if name == "weight-mean-batch":
                return x - x.mean((0, 2, 3), keepdim=True) + shift
            return nn.functional.group_norm(x, 2, unit.norm.weight, unit.norm.bias, EPS)

        images = make_data().train.take(slice(0, 16)).double()
        x = images
        pooled = network.pooled if family == "cnn" else [False] * 3
        for unit, pool in zip(network.units, pooled, strict=True):
            bias = unit.layer.bias
            assert (bias is None) == (name == "weight-mean-batch")
            if family == "cnn":
                x = nn.functional.conv2d(x, weight(unit), bias, padding=1)
            else:
                x = nn.functional.linear(x.flatten(1), weight(unit), bias)[:, :, None, None]
            x = torch.tanh(normalized(unit, x)) if placement == "before" else normalized(unit, torch.tanh(x))
            x = nn.functional.max_pool2d(x, 2) if pool else x
        expected = nn.functional.linear(x.flatten(1), network.dense.weight, network.dense.bias)
        torch.testing.assert_close(network(images), expected)

    @pytest.mark.parametrize("family", ["cnn", "mlp"])
    @pytest.mark.parametrize("name", ["weight", "weight-mean-batch"])
    def test_units_started_from_data_have_mean_0_and_variance_1(self, name, family):
        """1602.07868, section 3: per filter, on the images."""
        network, data = make_network(name, "tanh", family=family), make_data()
        images = data.train.take(slice(None))
        start_from_data(network, images)
        seen = {}
        for key, unit in network.hidden().items():
            unit.activation.register_forward_hook(lambda m, i, o, key=key: seen.update({key: i[0].detach()}))
        network.train()(images)
        for x in seen.values():
            torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(x.shape[1]), atol=1e-4, rtol=0)
            torch.testing.assert_close(
                x.var((0, 2, 3), correction=0), torch.ones(x.shape[1]), atol=1e-2, rtol=0
            )
        assert len(seen) == len(network.units)

    def test_starting_from_data_leaves_running_statistics_and_others_weights_alone(self):
        images = make_data().train.take(slice(None))
        for name in ("batch", "none", "weight-mean-batch"):
            network = make_network(name)
            kept = {key: value.clone() for key, value in network.state_dict().items()}
            start_from_data(network, images)
            now = network.state_dict()
            changed = {key for key in kept if not torch.equal(now[key], kept[key])}
            scales = {f"units.{i}.reparametrization.scale" for i in range(6)}
            assert changed == (scales if name == "weight-mean-batch" else set())


@pytest.mark.parametrize("name", ["weight-mean-batch", "batch-noisy", "batch-last", "batch-centre", "ghost8"])
def test_statistics_are_reestimated(name):
    """The first layer's, whose input depends on no other's: averages over batches of what enters it."""
    network, data = make_network(name), make_data()
    tensors = {key: value.detach().clone() for key, value in network.state_dict().items()}
    kept = {key: value.clone() for key, value in tensors.items()}
    found = reestimate(network, tensors, data.reestimation, 32)
    first = next(iter(network.running_norms()))
    seen = []
    unit = network.get_submodule(first.removesuffix(".norm"))
    hook = unit.norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    for start in range(0, 96, 32):
        network.train()(data.train.take(slice(start, start + 32)))
    hook.remove()
    assert all(torch.equal(value, kept[key]) for key, value in tensors.items())
    expected = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    torch.testing.assert_close(found[f"{first}.running_mean"], expected, rtol=1e-4, atol=1e-5)
    assert {norm.momentum for norm in network.running_norms().values()} == {0.01}


def test_a_clipped_gradient_has_at_most_the_norm():
    data, rate = make_data(), 0.5
    for clip_norm in (None, 0.1, 1e6):
        network, rule = make_network("none-clip1"), Sgd(momentum=0.0)
        parameters = flatten(network)
        state = TrainState(parameters, rule.moments(parameters), {}, torch.tensor(0))
        before = state.parameters.clone()
        problem = Problem(network, Layout.of(network), data.train, 16, None, rule)
        problem = replace(problem, clip_norm=clip_norm)
        norm = step_alone(problem, state, torch.arange(16), StreamKeys.of(0, CPU), torch.tensor(rate))[
            2
        ].item()
        moved = (state.parameters - before).norm().item() / rate
        assert norm > 0.1
        assert moved == pytest.approx(min(norm, clip_norm or math.inf), rel=1e-4)
    found = [NORMALIZATIONS[f"none-clip{norm}"].clip_norm for norm in ("0.1", "1", "10")]
    assert found == [0.1, 1.0, 10.0]
