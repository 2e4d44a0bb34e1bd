"""Judging: scores against a plain loop, statistics against torch's, `trained` against statsmodels."""

import numpy as np
import pytest
import torch
from made_trials import make_data
from statsmodels.stats.proportion import proportion_confint
from torch.optim.swa_utils import update_bn

from benchmark.data.datasets import Split
from benchmark.training import evaluate
from benchmark.training.evaluate import is_trained, reestimate, score
from benchmark.variants.networks import NetworkSpec, initialize
from benchmark.variants.networks.cnn import ConvNet
from benchmark.variants.variant import Variant


def make_network(normalization="batch"):
    """A network whose statistics and scales are not the initial ones."""
    network = ConvNet(NetworkSpec(blocks=3, width=6), Variant(normalization, "relu"), (1, 8, 8), 4)
    initialize(network, 0)
    generator = torch.Generator().manual_seed(0)
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            offset = 0.5 if name.endswith("running_var") else 0.0
            buffer.copy_(offset + torch.rand(buffer.shape, generator=generator))
    return network


def tensors_of(network):
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def test_score_is_that_of_a_plain_loop():
    data, network = make_data(), make_network()
    found = score(network, tensors_of(network), data.validation, data.clean_train)
    network.eval()
    for split, result in zip((data.validation, data.clean_train), found, strict=True):
        loss, correct = 0.0, 0
        for i in range(len(split)):
            logits = network((split.images[i : i + 1].float() - split.offset) * split.scale)
            loss -= logits.log_softmax(1)[0, split.labels[i]].item()
            correct += int(logits.argmax()) == int(split.labels[i])
        assert result.loss == pytest.approx(loss / len(split), rel=1e-5)
        assert result.accuracy == correct / len(split)


def test_score_does_not_depend_on_how_the_split_is_cut(monkeypatch):
    data, network = make_data(), make_network()
    tensors = tensors_of(network)
    splits = (data.validation, data.clean_train, data.test)
    alone = [score(network, tensors, split)[0] for split in splits]
    for size in (7, 50, 10_000):  # in pieces, over the ends of splits, all in one pass
        monkeypatch.setattr(evaluate, "_chunk_size", lambda network, split, size=size: size)
        for together, whole in zip(score(network, tensors, *splits), alone, strict=True):
            assert together.accuracy == pytest.approx(whole.accuracy)
            assert together.loss == pytest.approx(whole.loss, rel=1e-5)


def test_score_reads_the_tensors_it_is_given_and_changes_nothing():
    data, network = make_data(), make_network()
    before = tensors_of(network)
    given = {name: value * 1.5 if value.is_floating_point() else value for name, value in before.items()}
    kept = {name: value.clone() for name, value in given.items()}
    assert score(network, given, data.validation) != score(network, before, data.validation)
    assert all(torch.equal(given[name], kept[name]) for name in given)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(("batch_size", "num_used"), [(16, 96), (40, 80), (96, 96), (500, 96)])
def test_reestimated_statistics_are_torchs(batch_size, num_used):
    """A last, smaller batch is left out, unless it is the only one."""
    data, network = make_data(), make_network()
    found = reestimate(network, tensors_of(network), data.reestimation, batch_size)

    update_bn(data.reestimation.take(slice(0, num_used)).split(batch_size), network)
    for name, expected in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):  # not counted, as nothing reads it
            torch.testing.assert_close(found[name], expected)
        assert "running" not in name or found[name].abs().sum() > 0


def test_reestimation_leaves_everything_as_it_was():
    data, network = make_data(), make_network()
    given = tensors_of(network)
    kept = {name: value.clone() for name, value in given.items()}
    own = tensors_of(network)
    first = reestimate(network, given, data.reestimation, 16)
    assert all(torch.equal(given[name], kept[name]) for name in given)
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())
    assert {norm.momentum for norm in network.running_norms().values()} == {0.01}
    again = reestimate(network, first, data.reestimation, 16)  # the old statistics play no part
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_momenta_are_put_back_after_an_error():
    data, network = make_data(), make_network()
    wrong = Split(data.train.images[:, :, :, :2], data.train.labels, data.train.offset, data.train.scale)
    with pytest.raises(RuntimeError):
        reestimate(network, tensors_of(network), wrong, 16)
    assert {norm.momentum for norm in network.running_norms().values()} == {0.01}


def test_which_norms_have_running_statistics():
    assert list(make_network().running_norms()) == [f"units.{depth}.norm" for depth in range(6)]
    assert not make_network("none").running_norms()


@pytest.mark.parametrize(("num_examples", "num_classes"), [(360, 10), (5000, 100), (64, 4), (10000, 10)])
def test_trained_is_the_wilson_intervals_word(num_examples, num_classes):
    answers = []
    for correct in range(num_examples // num_classes, num_examples + 1):
        # alpha 0.002 on two sides is 0.1% on the lower one
        low, _ = proportion_confint(correct, num_examples, alpha=0.002, method="wilson")
        answers.append(is_trained(correct / num_examples, num_examples, num_classes))
        assert answers[-1] == (low > 1 / num_classes)
        if answers[-1] and answers[-5:] == [True] * 5:
            break  # monotone from here
    assert not answers[0]
    assert answers[-1]


def test_chance_is_not_trained():
    for num_classes in np.arange(2, 20):
        assert not is_trained(1 / num_classes, 1000, num_classes)
