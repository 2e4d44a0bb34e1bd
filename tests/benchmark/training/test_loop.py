"""A whole trial: what it logs, how it ends, and that it goes on where it stopped."""

import itertools
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_trials import (
    NUM_CLASSES,
    contents_of,
    make_data,
    make_study,
    make_trial,
    replica_of,
    run_trial,
    score,
    without_timings,
)

from benchmark.contract import CURVE_METRICS, FINAL_METRICS
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.evaluate import reestimate
from benchmark.training.events import Evaluation, Outcome
from benchmark.training.loop import train
from benchmark.training.losses import loss_cap
from benchmark.training.replica import Replica

LOSS_CAP = math.log(NUM_CLASSES)
JUDGED = ("val_loss", "val_accuracy", "clean_train_loss", "clean_train_accuracy")


@pytest.fixture(scope="module")
def data():
    return make_data()


def study_of(*, eval_every=10, **sections):
    return make_study(
        variants={"activations": ["relu", "sigmoid", "tanh"]}, budget={"eval_every": eval_every}, **sections
    )


def short_study(**sections):
    """Six evaluations of four steps each."""
    return make_study(
        variants={"activations": ["relu", "sigmoid", "tanh"]},
        search={"sampler": "fixed", "low": 0.1, "high": 0.1, "num_rates": 1},
        budget={"num_steps": 20, "eval_every": 4},
        **sections,
    )


def rows(evaluations):
    return [without_timings(evaluation.row) for evaluation in evaluations]


def test_evaluations_come_at_initialization_and_after_every_interval(data, tmp_path):
    trial = make_trial(study_of())
    evaluations, outcome = run_trial(trial, data, tmp_path)
    steps = [e.row["step"] for e in evaluations]
    assert steps == [0, 10, 20, 30, 40, 50]
    assert trial.num_evaluations == 5
    assert outcome.metrics["num_steps_done"] == 50
    for evaluation in evaluations:
        row = evaluation.row
        assert list(row) == list(CURVE_METRICS)
        assert row["examples"] == 16 * row["step"]
        assert row["epoch"] == 16 * row["step"] / 96
        assert row["learning_rate"] == 0.1
    seconds = [e.row["train_seconds"] for e in evaluations]
    assert seconds[0] == 0
    assert all(a < b for a, b in itertools.pairwise(seconds))
    nothing_yet = {name for name, value in evaluations[0].row.items() if math.isnan(value)}
    assert nothing_yet == {"train_loss", "train_accuracy", "gradient_norm", "examples_per_s"}


def test_confirm_is_evaluated_at_its_own_interval(data, tmp_path):
    evaluations, _ = run_trial(make_trial(study_of(), stage="confirm"), data, tmp_path)
    assert [e.row["step"] for e in evaluations] == list(range(51))


@pytest.mark.parametrize("variant", ["batch-relu", "none-tanh"])
def test_looking_more_often_changes_nothing(data, tmp_path, variant):
    """And an interval's training metrics are the means over its steps."""
    seldom, seldom_outcome = run_trial(make_trial(study_of(), variant), data, tmp_path / "a")
    often, often_outcome = run_trial(make_trial(study_of(eval_every=1), variant), data, tmp_path / "b")
    for number, evaluation in enumerate(seldom[1:], start=1):
        interval = [e.row for e in often[10 * number - 9 : 10 * number + 1]]
        for name in ("train_loss", "train_accuracy", "gradient_norm"):
            mean = sum(row[name] for row in interval) / 10
            assert evaluation.row[name] == pytest.approx(mean, rel=1e-5)
        for name in (*JUDGED, *(f"{name}_ema" for name in JUDGED), "parameter_norm"):
            assert evaluation.row[name] == interval[-1][name]
    for name, value in seldom_outcome.metrics.items():
        if name.startswith("final"):
            assert often_outcome.metrics[name] == value


def test_a_trial_is_repeatable_and_depends_on_seed_and_rate(data, tmp_path):
    def curve(folder, **changed):
        return rows(run_trial(make_trial(short_study(), **changed), data, tmp_path / folder)[0])

    first = curve("a")
    torch.manual_seed(99)
    assert curve("b") == first
    assert curve("c", seed=1)[1] != first[1]
    assert curve("d", learning_rate=0.05)[1]["train_loss"] != first[1]["train_loss"]


def test_variants_of_a_seed_share_weights_and_order(data, tmp_path):
    replicas = [
        replica_of(make_trial(study_of(), variant, learning_rate=rate), data, tmp_path / variant)
        for variant, rate in (("none-relu", 0.1), ("batch-sigmoid", 3.0))
    ]
    a, b = (replica.network.weighted_layers() for replica in replicas)
    assert all(torch.equal(a[name].weight, b[name].weight) for name in a)
    assert torch.equal(*(replica.row().order.batches(0, 50) for replica in replicas))


def test_trained(data, tmp_path):
    evaluations, outcome = run_trial(make_trial(study_of()), data, tmp_path)
    last = evaluations[-1].row
    assert outcome.status == "trained"
    assert last["val_accuracy"] > 0.8
    for name in JUDGED:
        assert outcome.metrics[f"final_{name}"] == last[name]
        assert outcome.metrics[f"final_{name}_ema"] == last[f"{name}_ema"]
    assert set(outcome.metrics) == set(FINAL_METRICS) - {"test_loss", "test_accuracy"}
    assert outcome.metrics["num_parameters"] == 736 + 44  # and of batch normalization


def test_stuck(data, tmp_path):
    """It spends its budget, at chance."""
    _, outcome = run_trial(make_trial(study_of(), "none-sigmoid", learning_rate=1e-4), data, tmp_path)
    assert outcome.status == outcome.status_ema == "stuck"
    assert outcome.metrics["num_steps_done"] == 50
    assert outcome.metrics["final_val_loss"] < 2 * LOSS_CAP


@pytest.mark.parametrize(
    ("rate", "why"), [(10.0, "a loss above a thousand times the initial one"), (1e30, "not finite")]
)
@pytest.mark.parametrize("variant", ["none-relu", "batch-relu"])
def test_diverged(data, tmp_path, variant, rate, why):
    evaluations, outcome = run_trial(
        make_trial(study_of(eval_every=1), variant, learning_rate=rate), data, tmp_path
    )
    assert outcome.status == outcome.status_ema == "diverged"
    for suffix in ("", "_ema"):
        for split in ("val", "clean_train"):
            assert outcome.metrics[f"final_{split}_loss{suffix}"] == LOSS_CAP
            assert outcome.metrics[f"final_{split}_accuracy{suffix}"] == 1 / NUM_CLASSES
    done = outcome.metrics["num_steps_done"]
    assert 1 <= done < 50  # training stopped there
    assert [e.row["step"] for e in evaluations] == list(range(int(done) + 1))  # and the curve is kept
    losses = [e.row["train_loss"] for e in evaluations[1:]]
    initial = evaluations[0].row["clean_train_loss"]
    limit = 1000 * max(LOSS_CAP, initial)
    assert all(loss <= limit for loss in losses[:-1])
    if rate == 10.0:
        assert limit < losses[-1] < math.inf
    assert not (tmp_path / "progress.pt").exists()


def test_a_loss_below_the_limit_is_not_diverged(data, tmp_path):
    evaluations, outcome = run_trial(make_trial(study_of(), "none-tanh", learning_rate=10.0), data, tmp_path)
    assert max(e.row["train_loss"] for e in evaluations[1:]) > 10 * LOSS_CAP
    assert outcome.status == "stuck"


def test_blowing_up_in_the_last_step_is_diverged(data, tmp_path):
    """The losses of an interval do not see what its last step does: the judged ones do."""
    study = study_of(
        search={"sampler": "fixed", "low": 1e8, "high": 1e8, "num_rates": 1},
    ).model_copy(update={"budget": study_of().budget.model_copy(update={"num_steps": 1, "eval_every": 1})})
    evaluations, outcome = run_trial(make_trial(study, "none-relu", learning_rate=1e8), data, tmp_path)
    assert evaluations[-1].row["train_loss"] < 2 * LOSS_CAP
    assert not math.isfinite(evaluations[-1].row["val_loss"])
    assert outcome.status == "diverged"
    assert outcome.metrics["final_val_loss"] == outcome.metrics["test_loss"] == LOSS_CAP


def test_the_loss_cap_is_the_constant_predictors():
    uniform = torch.zeros(5, 7)
    assert loss_cap(7) == pytest.approx(torch.nn.functional.cross_entropy(uniform, torch.arange(5)).item())


@pytest.mark.parametrize(
    ("variant", "statistics", "differs"),
    [
        ("batch-relu", "reestimated", True),
        ("batch-relu", "moving-average", False),
        ("batch-fast-relu", "reestimated", False),
        ("batch-renorm-relu", "reestimated", False),
        ("none-relu", "reestimated", False),
    ],
)
def test_judged_statistics(data, tmp_path, variant, statistics, differs):
    trial = make_trial(short_study(judge={"statistics": statistics}), variant)
    evaluations, _ = run_trial(trial, data, tmp_path)
    for evaluation in evaluations:
        same = [
            evaluation.row[name] == evaluation.row[f"{name}_ema"] for name in ("val_loss", "clean_train_loss")
        ]
        assert same == [not differs] * 2


@pytest.mark.parametrize("variant", ["batch-relu", "batch-renorm-relu", "weight-mean-batch-relu"])
def test_what_is_judged_is_what_was_trained(data, tmp_path, variant):
    """After a short run, evaluation classifies like training mode does, on batches of the training size."""
    trial = make_trial(study_of(), variant, learning_rate=0.03)
    evaluations, _ = run_trial(trial, data, tmp_path)
    tensors = torch.load(tmp_path / "last.pt")
    network = replica_of(trial, data, tmp_path / "other").network.train()
    right = []
    for start in range(0, len(data.validation), 16):
        batch = slice(start, start + 16)
        own = {name: value.clone() for name, value in tensors.items()}
        logits = torch.func.functional_call(network, own, (data.validation.take(batch),))
        right.append((logits.argmax(1) == data.validation.labels[batch]).float())
    trained = torch.cat(right).mean().item()
    assert trained > 0.5
    assert evaluations[-1].row["val_accuracy"] == pytest.approx(trained, abs=0.05)


def test_judging_does_not_change_training(data, tmp_path):
    a, _ = run_trial(make_trial(short_study()), data, tmp_path / "a")
    b, _ = run_trial(make_trial(short_study(judge={"statistics": "moving-average"})), data, tmp_path / "b")
    for x, y in zip(a[1:], b[1:], strict=True):
        for name in ("train_loss", "gradient_norm", "parameter_norm", "val_loss_ema"):
            assert x.row[name] == y.row[name]


def test_the_best_checkpoint_has_the_least_validation_loss(data, tmp_path):
    # A rate at which the loss does not fall evenly, so that the best is not the last.
    trial = make_trial(study_of(eval_every=1), learning_rate=0.9)
    evaluations, outcome = run_trial(trial, data, tmp_path)
    losses = [e.row["val_loss"] for e in evaluations]
    best = losses.index(min(losses))
    assert 0 < best < 50
    assert (outcome.metrics["best_val_loss"], outcome.metrics["best_val_step"]) == (losses[best], best)

    network = replica_of(trial, data, tmp_path / "other").network
    for name, step in (("best.pt", best), ("last.pt", 50)):
        tensors = torch.load(tmp_path / name)
        (moving,) = score(network, tensors, data.validation)
        (judged,) = score(network, reestimate(network, tensors, data.reestimation, 16), data.validation)
        assert moving.loss == evaluations[step].row["val_loss_ema"]
        assert judged.loss == losses[step]


class Unreadable:
    """A split that must not be looked at."""

    def __getattr__(self, name):
        raise AssertionError("the test split was read")

    def __len__(self):
        raise AssertionError("the test split was read")


def test_the_test_split_is_read_in_confirm_alone(data, tmp_path):
    hidden = replace(data, test=Unreadable())
    for stage in ("sweep", "refine", "gains"):
        _, outcome = run_trial(make_trial(study_of(), stage=stage), hidden, tmp_path / stage)
        assert "test_loss" not in outcome.metrics
    with pytest.raises(AssertionError, match="test split"):  # after it all, where nothing is chosen
        run_trial(make_trial(short_study()), hidden, tmp_path / "fixed")

    trial = make_trial(study_of(), stage="confirm")
    _, outcome = run_trial(trial, data, tmp_path / "confirm")
    network = replica_of(trial, data, tmp_path / "other").network
    tensors = reestimate(network, torch.load(tmp_path / "confirm" / "last.pt"), data.reestimation, 16)
    (expected,) = score(network, tensors, data.test)
    assert (outcome.metrics["test_loss"], outcome.metrics["test_accuracy"]) == (
        expected.loss,
        expected.accuracy,
    )


def test_init_gain_scales_the_initial_weights(data, tmp_path):
    norms = []
    for gain in (1.0, 3.0):
        trial = make_trial(study_of(), "none-tanh", init_gain=gain)
        norms.append(next(contents_of(trial, data, tmp_path)).row["parameter_norm"])
    assert norms[1] == pytest.approx(3 * norms[0], rel=1e-5)


def test_a_loss_that_is_never_finite_has_a_best_all_the_same(data, tmp_path):
    """With huge initial weights it is NaN from the start; what is logged is the loss cap."""
    trial = make_trial(study_of(), "none-relu", init_gain=1e30)
    evaluations, outcome = run_trial(trial, data, tmp_path)
    assert not math.isfinite(evaluations[0].row["val_loss"])
    assert outcome.status == "diverged"
    assert outcome.metrics["best_val_loss"] == LOSS_CAP
    assert all(math.isfinite(value) for value in outcome.metrics.values())
    assert (tmp_path / "best.pt").is_file()


def test_progress_made_on_another_machine_is_not_gone_on_with(data, tmp_path):
    """Its times and roundings are others: the trial starts anew."""
    trial = make_trial(short_study())
    interrupted(trial, data, tmp_path, 4, machine="one")
    assert Replica(trial, data, Checkpoints(tmp_path, "one")).state.step == 8
    assert Replica(trial, data, Checkpoints(tmp_path, "another")).state.step == 0


def interrupted(trial, data, folder, num_evaluations, machine=""):
    """Start a trial that saves its progress at every evaluation, and leave it after some."""
    events = (
        event.content
        for event in train([trial], data, lambda _: Checkpoints(folder, machine), checkpoint_every_s=0.0)
    )
    # The progress of an evaluation is saved when the next one is asked for.
    seen = list(itertools.islice(events, num_evaluations))
    events.close()
    return seen


@pytest.mark.parametrize("stop_after", [1, 2, 4, 6])
@pytest.mark.parametrize(
    ("variant", "optimizer"), [("batch-relu", "sgd"), ("none-tanh", "adam"), ("batch-sigmoid", "rmsprop")]
)
def test_an_interrupted_trial_gives_the_same_numbers(data, tmp_path, variant, optimizer, stop_after):
    study = short_study(
        optimizer={"name": optimizer},
        data={"augmentation": {}},
        probes={"enabled": ["gradients", "activations"], "every": 2},
    )
    trial = make_trial(study, variant, learning_rate=0.03)
    whole, whole_outcome = run_trial(trial, data, tmp_path / "whole")

    interrupted(trial, data, tmp_path / "parts", stop_after)
    assert (tmp_path / "parts" / "progress.pt").exists() == (stop_after > 2)
    parts, outcome = run_trial(trial, data, tmp_path / "parts")
    assert rows(parts) == rows(whole)
    assert [str(e.probes) for e in parts] == [str(e.probes) for e in whole]
    assert outcome.status == whole_outcome.status
    assert without_timings(outcome.metrics) == without_timings(whole_outcome.metrics)
    for name in ("last.pt", "best.pt"):
        a, b = (torch.load(tmp_path / folder / name) for folder in ("whole", "parts"))
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert not (tmp_path / "parts" / "progress.pt").exists()


def test_a_resumed_trial_does_not_train_again_what_it_had(data, tmp_path):
    trial = make_trial(short_study())
    seen = interrupted(trial, data, tmp_path, 4)
    assert replica_of(trial, data, tmp_path).state.step == 8  # saved after the third evaluation
    resumed = list(itertools.islice(contents_of(trial, data, tmp_path), 3))
    assert [e.row for e in resumed[1:]] == [
        e.row for e in seen[1:3]
    ]  # timings too: they are what was measured


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_damaged_progress_means_a_new_start(data, tmp_path, damage):
    trial = make_trial(short_study())
    whole, _ = run_trial(trial, data, tmp_path / "whole")
    interrupted(trial, data, tmp_path / "parts", 4)
    path = tmp_path / "parts" / "progress.pt"
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "garbage": b"x" * 1000, "empty": b""}[damage])

    assert replica_of(trial, data, tmp_path / "parts").state.step == 0
    assert not path.exists()
    *evaluations, outcome = contents_of(trial, data, tmp_path / "parts")
    assert all(isinstance(evaluation, Evaluation) for evaluation in evaluations)
    assert isinstance(outcome, Outcome)
    assert rows(evaluations) == rows(whole)


def test_no_flipped_bit_of_a_checkpoint_is_gone_on_with(data, tmp_path, caplog):
    """Of 600 flips 385 once were: `torch.load` looks at no checksum. What is not read may be flipped."""
    trial = make_trial(short_study())
    interrupted(trial, data, tmp_path, 4)
    path = tmp_path / "progress.pt"
    content = path.read_bytes()
    whole = replica_of(trial, data, tmp_path)
    rng = np.random.default_rng(0)
    anew = 0
    for position, bit in zip(rng.integers(0, len(content), 200), rng.integers(0, 8, 200), strict=True):
        flipped = bytearray(content)
        flipped[position] ^= 1 << bit
        path.write_bytes(flipped)
        found = replica_of(trial, data, tmp_path)
        if found.state.step == 0:
            anew += 1
            assert not path.exists()
            continue
        assert all(map(torch.equal, found.state.tensors(), whole.state.tensors()))
        assert rows(found.progress.evaluations) == rows(whole.progress.evaluations)
    assert anew > 100
    assert caplog.text.count("is damaged") == anew


def another_network(saved):
    saved["state"]["parameters"] = saved["state"]["parameters"][:-1]
    return saved


def other_columns(saved):
    del saved["progress"]["evaluations"][0]["row"]["val_loss"]
    return saved


def part_of_the_progress(saved):
    del saved["progress"]["best_step"]
    return saved


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: [saved],
        lambda saved: {},
        lambda saved: saved | {"state": {}},
        lambda saved: saved | {"progress": {}},
        lambda saved: saved | {"progress": [1.0]},
        lambda saved: saved["state"]["parameters"],
        another_network,
        other_columns,
        part_of_the_progress,
    ],
)
def test_a_checkpoint_of_another_form_means_a_new_start(data, tmp_path, caplog, change):
    trial = make_trial(short_study())
    interrupted(trial, data, tmp_path, 4)
    path = tmp_path / "progress.pt"
    torch.save(change(torch.load(path)), path)
    assert replica_of(trial, data, tmp_path).state.step == 0
    assert not path.exists()
    assert "is damaged" in caplog.text
    assert "its trial begins anew" in caplog.text


class Code:
    """What, unpickled, makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_is_not_executed(data, tmp_path, caplog):
    trial = make_trial(short_study())
    interrupted(trial, data, tmp_path, 4)
    path, made = tmp_path / "progress.pt", tmp_path / "made"
    torch.save(torch.load(path) | {"machine": Code(made)}, path)
    assert replica_of(trial, data, tmp_path).state.step == 0
    assert "is damaged" in caplog.text
    assert not made.exists()


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo])
def test_what_is_no_file_is_not_waited_for(data, tmp_path, make):
    make(tmp_path / "progress.pt")
    trial = make_trial(short_study())
    *_, outcome = contents_of(trial, data, tmp_path)
    assert isinstance(outcome, Outcome)


def test_progress_is_written_whole_or_not_at_all(data, tmp_path, monkeypatch):
    trial = make_trial(short_study())
    interrupted(trial, data, tmp_path, 4)
    before = (tmp_path / "progress.pt").read_bytes()

    def killed(document, path):
        path.write_bytes(b"half of a check")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        list(contents_of(trial, data, tmp_path, checkpoint_every_s=0.0))
    assert (tmp_path / "progress.pt").read_bytes() == before


def test_what_a_killed_trial_had_half_written_goes_when_it_begins_again(tmp_path):
    for name in ("progress.partial", "best.partial"):
        (tmp_path / name).write_text("half wri")
    assert Checkpoints(tmp_path).load_progress(torch.device("cpu"), dict) is None
    assert list(tmp_path.iterdir()) == []
