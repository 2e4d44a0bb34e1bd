"""Parts of batch normalization, and what is said to do without: against PyTorch's layers and the papers."""

import math

import pytest
import torch
from made_networks import make_network
from made_trials import make_data, make_study, make_trial, replica_of, step_alone
from torch import nn

from benchmark.base.errors import InputError
from benchmark.probes._view import Batch, View
from benchmark.probes.activations import observe
from benchmark.training.clipping import clip_by_units_
from benchmark.training.evaluate import reestimate
from benchmark.training.state import Layout
from benchmark.training.step import StreamKeys
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.layers.filterwise import ScaledActivation, ThresholdedLinearUnit
from benchmark.variants.networks import MlpSpec, NetworkSpec, build_network
from benchmark.variants.normalization import Place
from benchmark.variants.norms import NORMALIZATIONS
from benchmark.variants.variant import Variant

EPS = 1e-3


def built(name, shape=(5, 3, 2)):
    """A normalization in double precision, its parameters not the initial ones."""
    norm = NORMALIZATIONS[name].build(Place(shape)).double().train()
    generator = torch.Generator().manual_seed(0)
    for parameter in norm.parameters():
        parameter.data.add_(torch.rand(parameter.shape, generator=generator, dtype=torch.float64))
    return norm


def maps(num=32, shape=(5, 3, 2), seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(num, *shape, generator=generator, dtype=torch.float64) + 2


class TestMoments:
    def test_both_together_are_batch_normalization_gradients_too(self):
        x = maps().requires_grad_()
        centre, scale = (
            NORMALIZATIONS[name].build(Place((5, 3, 2))).double() for name in ("batch-centre", "batch-scale")
        )
        torchs = nn.BatchNorm2d(5, EPS, 0.01).double()
        cotangent = maps(seed=2)
        found, expected = scale(centre(x)), torchs(x)
        torch.testing.assert_close(found, expected)
        gradients = [torch.autograd.grad((y * cotangent).sum(), x)[0] for y in (found, expected)]
        torch.testing.assert_close(*gradients)
        torch.testing.assert_close(centre.running_mean, torchs.running_mean)
        torch.testing.assert_close(scale.running_var, torchs.running_var)
        torch.testing.assert_close(scale.eval()(centre.eval()(x)), torchs.eval()(x))

    def test_each_removes_its_own_moment_alone(self):
        x, norms = maps(), {name: built(name) for name in ("batch-centre", "batch-scale")}
        torch.testing.assert_close(norms["batch-centre"](x + 7), norms["batch-centre"](x))
        assert not torch.allclose(norms["batch-centre"](3 * x), norms["batch-centre"](x))
        torch.testing.assert_close(
            norms["batch-scale"](300 * x), norms["batch-scale"](30 * x), rtol=1e-4, atol=1e-4
        )
        assert not torch.allclose(norms["batch-scale"](x + 7), norms["batch-scale"](x))


class TestGhost:
    @pytest.mark.parametrize("k", [4, 8, 16])
    def test_is_torchs_batch_normalization_of_each_group(self, k):
        """1705.08741, algorithm 1, the groups being every so manyeth example."""
        norm, x, num_groups = built(f"ghost{k}"), maps(), 32 // k
        found, means, variances = norm(x), [], []
        for group in range(num_groups):
            own = nn.BatchNorm2d(5, EPS, momentum=1.0).double()
            own.load_state_dict({**own.state_dict(), "weight": norm.weight, "bias": norm.bias})
            torch.testing.assert_close(found[group::num_groups], own(x[group::num_groups]))
            means.append(own.running_mean)
            variances.append(own.running_var)
        torch.testing.assert_close(norm.running_mean, 0.01 * torch.stack(means).mean(0))
        torch.testing.assert_close(norm.running_var, 0.99 + 0.01 * torch.stack(variances).mean(0))

    def test_one_group_is_batch_normalization(self):
        x, ghost, batch = maps(16), built("ghost16"), built("batch")
        batch.load_state_dict({**batch.state_dict(), "weight": ghost.weight, "bias": ghost.bias})
        torch.testing.assert_close(ghost(x), batch(x))
        torch.testing.assert_close(ghost.running_var, batch.running_var)
        torch.testing.assert_close(ghost.eval()(x), batch.eval()(x))

    def test_reestimated_statistics_are_means_over_groups(self):
        """Algorithm 2 of 1502.03167 with the groups as batches: the expected variance within k examples."""
        network, data = make_network("ghost4"), make_data()
        tensors = {key: value.detach().clone() for key, value in network.state_dict().items()}
        found = reestimate(network, tensors, data.reestimation, 16)
        first = network.units[0].weigh(data.reestimation.take(slice(0, 96))).detach()
        groups = [batch[group::4] for batch in first.split(16) for group in range(4)]
        variances = torch.stack([group.var((0, 2, 3)) for group in groups])
        torch.testing.assert_close(found["units.0.norm.running_var"], variances.mean(0))
        assert not torch.allclose(found["units.0.norm.running_var"], first.var((0, 2, 3)), rtol=1e-3)

    def test_batches_that_it_does_not_divide_are_refused(self):
        spec, variant = NetworkSpec(blocks=3, width=3), Variant("ghost8", "relu")
        for batch_size in (8, 24):
            build_network(spec, variant, (1, 8, 8), 4, 100, batch_size)
        for batch_size in (4, 20):
            with pytest.raises(
                InputError,
                match=rf"batch_size: expected a multiple of 8 .*'ghost8'.* found {batch_size}: choose",
            ):
                build_network(spec, variant, (1, 8, 8), 4, 100, batch_size)


class TestFilterResponse:
    def test_rescaled_maps_come_out_the_same(self):
        """1911.09737, section 3.3: invariant to the scale of a filter's weights, up to eps."""
        norm, x = built("filter-response"), 10 * maps()
        scales = torch.tensor([1.0, 2.0, 3.0, 0.5, 7.0], dtype=torch.float64)[:, None, None]
        torch.testing.assert_close(norm(x * scales), norm(x), rtol=1e-2, atol=1e-3)
        assert not list(norm.buffers())

    def test_at_one_position_eps_is_learned(self):
        """Section 3.1: 1e-6 + |eps_l|, which starts at 1e-4."""
        norm = NORMALIZATIONS["filter-response"].build(Place((4, 1, 1))).double()
        x = maps(6, (4, 1, 1)) / 100
        torch.testing.assert_close(norm(x), x / (x.square() + 1e-6 + 1e-4).sqrt())
        norm.learned_eps.data.fill_(-0.2)
        torch.testing.assert_close(norm(x), x / (x.square() + 1e-6 + 0.2).sqrt())
        assert norm.learned_eps.shape == ()
        assert NORMALIZATIONS["filter-response"].build(Place((4, 2, 1))).learned_eps is None

    def test_relu_becomes_its_thresholded_unit_and_others_stay(self):
        """Equation 3: z = max(y, tau), tau per channel, at first 0."""
        relu, tanh = (make_network("filter-response", name) for name in ("relu", "tanh"))
        assert all(isinstance(unit.activation, ThresholdedLinearUnit) for unit in relu.units)
        assert all(isinstance(unit.activation, nn.Tanh) for unit in tanh.units)
        unit, x = ThresholdedLinearUnit(5).double(), maps()
        assert torch.equal(unit(x), x.relu())
        unit.threshold.data.copy_(torch.linspace(-2, 2, 5))
        found = unit(x)
        for channel, threshold in enumerate(torch.linspace(-2, 2, 5)):
            assert torch.equal(found[:, channel], x[:, channel].clamp_min(threshold.item()))

    @pytest.mark.parametrize("family", ["cnn", "mlp"])  # a shortcut would carry the thresholds on
    def test_dead_units_are_those_below_their_threshold(self, family):
        network, data = make_network("filter-response", "relu", family=family), make_data()
        tensors = {name: value.detach().clone() for name, value in network.state_dict().items()}
        batch = Batch(data.train.take(slice(0, 16)), data.train.labels[:16], nn.functional.cross_entropy)
        shares = []
        for threshold in (-1e6, 1e6):
            for name, value in tensors.items():
                if name.endswith("threshold"):
                    value.fill_(threshold)
            view = View(network, ACTIVATIONS["relu"], batch, tensors)
            shares.append([r.value.item() for r in observe(view) if r.probe == "dead_share"])
        assert shares == [[0.0] * len(network.units), [1.0] * len(network.units)]


def test_dynamic_tanh_starts_as_its_paper_says():
    norm, x = NORMALIZATIONS["dynamic-tanh"].build(Place((5, 3, 2))).double(), maps()
    torch.testing.assert_close(norm(x), torch.tanh(x / 2))
    assert norm.alpha.shape == ()


# 1 / std of f(z), from normal draws, in deepmind-research/nfnets; to their sampling error.
AUTHORS_GAINS = {
    "relu": 1.7139588594436646,
    "gelu": 1.7015043497085571,
    "silu": 1.7881293296813965,
    "elu": 1.2716004848480225,
    "selu": 1.0008515119552612,
    "leaky-relu": 1.70590341091156,
    "sigmoid": 4.803835391998291,
    "softplus": 1.9203323125839233,
    "tanh": 1.5939117670059204,
}


class TestAdaptiveClipping:
    @pytest.mark.parametrize("name", AUTHORS_GAINS)
    def test_gains_are_the_authors(self, name):
        assert ACTIVATIONS[name].unit_gain == pytest.approx(AUTHORS_GAINS[name], rel=3e-3)

    def test_relus_gain_is_its_closed_form(self):
        assert ACTIVATIONS["relu"].unit_gain == pytest.approx(math.sqrt(2 / (1 - 1 / math.pi)), rel=1e-6)

    def test_its_activations_are_scaled(self):
        network = make_network("none-agc", "tanh")
        for unit in network.units:
            assert isinstance(unit.activation, ScaledActivation)
            x = torch.linspace(-3, 3, 50)
            torch.testing.assert_close(unit.activation(x), ACTIVATIONS["tanh"].unit_gain * x.tanh())

    @pytest.mark.parametrize("shape", [(4, 3, 3, 3), (4, 27)])
    def test_scaled_weight_standardization(self, shape):
        """2101.08692: (w - mean) / (std sqrt(fan-in)), population moments, times a gain per filter."""
        reparametrize = NORMALIZATIONS["none-agc"].reparametrize(Place((4, 2, 2)))
        w = 2 + 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
        numbers = w.flatten(1).numpy()
        expected = (numbers - numbers.mean(1, keepdims=True)) / (numbers.std(1, keepdims=True) * 27**0.5)
        torch.testing.assert_close(reparametrize(w).flatten(1), torch.from_numpy(expected))
        reparametrize.scale.data.copy_(torch.tensor([1.0, 2.0, 0.5, 3.0]))
        lengths = reparametrize(w).flatten(1).norm(dim=1)
        torch.testing.assert_close(lengths, reparametrize.scale.detach())

    def test_activations_keep_variance_1_layer_by_layer(self):
        """What scaled standardization and the gain are for (2101.08692, section 3.1); far from it without."""
        generator = torch.Generator().manual_seed(0)
        stds = {}
        for name in ("none-agc", "none"):
            spec = MlpSpec(depth=8, units=1000)
            network = build_network(spec, Variant(name, "relu"), (10, 10, 10), 4, 100, 16)
            for layer in network.weighted_layers().values():
                nn.init.normal_(layer.weight, std=0.01, generator=generator)
                nn.init.zeros_(layer.bias)
            x = torch.randn(64, 10, 10, 10, generator=generator)
            stds[name] = []
            for unit in network.units:
                x = unit.weigh(x)
                stds[name].append(x.std())
                x = unit.activation(x)
        torch.testing.assert_close(torch.stack(stds["none-agc"]), torch.ones(8), atol=0.15, rtol=0)
        assert stds["none"][-1] < 0.01

    def test_each_units_gradient_is_at_most_its_share(self):
        """Equation 3 of 2102.06171, written out: units of weights, and vectors whole; not the last layer."""
        network = make_network("none-agc")
        layout, generator = Layout.of(network), torch.Generator().manual_seed(0)
        size = sum(shape.numel() for shape in layout.shapes)
        parameters = torch.randn(2, size, generator=generator, dtype=torch.float64)
        gradient = torch.randn(2, size, generator=generator, dtype=torch.float64)
        gradient *= torch.logspace(-6, 1, size, dtype=torch.float64)[
            torch.randperm(size, generator=generator)
        ]
        parameters[1] = 0  # where weights count as 1e-3 long
        before = gradient.clone()
        clip_by_units_(layout, gradient, parameters, 0.01)
        counts = {"kept": 0, "clipped": 0}
        for row in range(2):
            weights, own = layout.split(parameters[row]), layout.split(before[row])
            for name, found in layout.split(gradient[row]).items():
                units = range(len(found)) if found.dim() > 1 else [...]
                for unit in units:
                    g, w = own[name][unit], weights[name][unit]
                    limit = 0.01 * max(w.norm().item(), 1e-3)
                    is_clipped = g.norm().item() > limit and not name.startswith("dense.")
                    expected = g * (limit / g.norm()) if is_clipped else g
                    torch.testing.assert_close(found[unit], expected)
                    counts["clipped" if is_clipped else "kept"] += 1
        assert min(counts.values()) > 5

    def test_steps_are_clipped(self, tmp_path):
        """SGD without momentum moves each filter by at most rate x 1% of its length."""
        study = make_study(
            variants={"normalizations": ["none-agc"], "reference": "none-agc-relu"},
            optimizer={"name": "sgd", "momentum": 0.0},
        )
        data, rate = make_data(), 0.5
        trial = make_trial(study, "none-agc-relu", learning_rate=rate)
        replica = replica_of(trial, data, tmp_path)
        problem, state = replica.problem(), replica.state
        before = problem.layout.split(state.parameters.clone())
        step_alone(
            problem, state, torch.arange(16), StreamKeys.of(0, torch.device("cpu")), torch.tensor(rate)
        )
        for name, after in problem.layout.split(state.parameters).items():
            moved = (after - before[name]).flatten(1) if after.dim() > 1 else (after - before[name])[None]
            lengths = before[name].flatten(1) if after.dim() > 1 else before[name][None]
            shares = moved.norm(dim=1) / lengths.norm(dim=1).clamp_min(1e-3) / rate
            if name.startswith("dense."):
                assert shares.max() > 0.0101
            else:
                assert shares.max() < 0.0101
