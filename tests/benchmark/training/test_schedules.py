"""Schedules against torch.optim.lr_scheduler, table by table and in training steps."""

import json
from dataclasses import replace

import pytest
import torch
from made_trials import contents_of, make_data, make_study, make_trial, numbers_of, step_alone
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from benchmark.base.errors import InputError
from benchmark.study.files import load_study
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.optimizers import Sgd
from benchmark.training.replica import Replica
from benchmark.training.schedules import SCHEDULES, Constant, Warmup, WarmupCosine, factors_on
from benchmark.training.step import StreamKeys

CPU = torch.device("cpu")


def torchs(name, warm, num_steps, optimizer):
    """PyTorch's scheduler of the name; None where the rate is constant."""
    if name == "constant":
        return None
    # From 1 / W at the first step up by 1 / W each; of one step of warm-up there is nothing to rise.
    up = LinearLR(optimizer, start_factor=1 / warm, total_iters=max(warm - 1, 1))
    if name == "warmup":
        return up
    return SequentialLR(optimizer, [up, CosineAnnealingLR(optimizer, num_steps - warm)], [warm])


@pytest.mark.parametrize(("num_steps", "share", "warm"), [(300, 0.05, 15), (100, 0.3, 30), (40, 0.001, 1)])
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.filterwarnings("ignore:.*scheduler.step")  # of PyTorch's own: SequentialLR calls it so
def test_rates_are_torchs(name, num_steps, share, warm):
    schedule = Constant() if name == "constant" else SCHEDULES[name](share=share)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.7)
    scheduler = torchs(name, warm, num_steps, optimizer)
    expected = []
    for _ in range(num_steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    factors = factors_on(schedule, num_steps, CPU)
    found = torch.ones(num_steps) if factors is None else factors
    torch.testing.assert_close(0.7 * found.double(), torch.tensor(expected).double(), rtol=1e-6, atol=1e-7)
    assert (factors is None) == (name == "constant")


@pytest.mark.parametrize("share", [0.9, 0.999])
@pytest.mark.parametrize("kind", [Warmup, WarmupCosine])
def test_a_warm_up_fits_the_shortest_budget(kind, share):
    for num_steps in (1, 2, 3):
        factors = kind(share=share).factors(num_steps)
        assert len(factors) == num_steps
        assert 0 < min(factors) <= max(factors) == 1


def trial_with(**schedule):
    study = make_study(budget={"num_steps": 50, "eval_every": 10}, schedule=schedule)
    return make_trial(study)


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "constant"])
def test_training_steps_follow_it(name, tmp_path):
    """Fifty steps of ours, and of PyTorch's SGD and scheduler on the gradients that ours had."""
    data, trial = make_data(), trial_with(name=name, share=0.2)
    replica = Replica(trial, data, Checkpoints(tmp_path))
    problem, state = replica.problem(), replica.state
    plain = torch.nn.Parameter(state.parameters.clone())
    optimizer = torch.optim.SGD([plain], lr=trial.learning_rate)
    scheduler = torchs(name, 10, 50, optimizer)
    keys, order = StreamKeys.of(trial.seed, CPU), replica.row().order
    problem = replace(problem, optimizer=Sgd(momentum=0.0), _bound={})
    moved = []
    for index in order.batches(0, 50):
        before = state.parameters.clone()
        step_alone(problem, state, index, keys, torch.tensor(trial.learning_rate))
        constant = replace(problem, rate_factors=None, _bound={})
        other = state.clone()
        other.parameters.copy_(before)
        other.step.sub_(1)
        step_alone(constant, other, index, keys, torch.tensor(trial.learning_rate))
        plain.grad = (before - other.parameters) / trial.learning_rate  # this step's gradient
        optimizer.step()
        scheduler.step()
        torch.testing.assert_close(state.parameters, plain.detach(), rtol=1e-4, atol=1e-5)
        moved.append(((state.parameters - before).norm() / (other.parameters - before).norm()).item())
    assert moved == pytest.approx(factors_on(trial.schedule, 50, CPU).tolist(), rel=1e-3)


def test_a_resumed_trial_goes_on_where_its_schedule_was(tmp_path):
    data, trial = make_data(), trial_with(name="warmup-cosine", share=0.2)
    whole = numbers_of(contents_of(trial, data, tmp_path / "whole"))
    interrupted = contents_of(trial, data, tmp_path / "parts", checkpoint_every_s=0.0)
    for _ in range(3):
        next(interrupted)
    interrupted.close()
    assert (tmp_path / "parts").exists()
    assert numbers_of(contents_of(trial, data, tmp_path / "parts")) == whole


def test_beyond_the_budget_where_trials_are_timed_it_stays_at_its_end(tmp_path):
    replica = Replica(trial_with(name="warmup-cosine"), make_data(), Checkpoints(tmp_path))
    problem, state, keys = replica.problem(), replica.state, StreamKeys.of(0, CPU)
    state.step.fill_(1000)
    assert step_alone(problem, state, torch.arange(16), keys, torch.tensor(0.1)).isfinite().all()


def test_constant_is_the_default_and_leaves_rates_alone_to_the_bit(tmp_path):
    assert make_study().schedule == Constant()
    replica = Replica(trial_with(name="constant"), make_data(), Checkpoints(tmp_path))
    assert replica.problem().rate_factors is None


def test_another_schedule_replaces_the_first_ones_settings(tmp_path):
    table = make_study().model_dump(mode="json", exclude_none=True)
    assert json.loads(json.dumps(table["schedule"])) == {"name": "constant"}
    study = load_study("quick", ["schedule.share=0.1", "schedule.name=warmup"])
    assert study.schedule == Warmup(share=0.1)
    with pytest.raises(InputError, match=r"schedule: expected one of 'constant', .*found 'cosine'"):
        load_study("quick", ["schedule.name=cosine"])
    with pytest.raises(InputError, match=r"schedule\.share: .*less than 1, found 1\.5"):
        load_study("quick", ["schedule.name=warmup", "schedule.share=1.5"])
