"""Which engine trains a variant, and how many trials at once: by measurement."""

import json
import time
from dataclasses import replace
from statistics import median

import pytest
import torch
from made_trials import make_data, make_study, make_trial

from benchmark.base.errors import InputError
from benchmark.execution import choice
from benchmark.execution.choice import Choice, Cost, choose
from benchmark.training.engines import AUTO, ENGINES

TRIAL = make_trial(make_study())
SECONDS = {
    ("eager", 1): 4.0,
    ("channels-last", 1): 2.0,
    ("fused", 4): 1.0,
    ("fused", 8): 0.5,
    ("fused", 16): 0.7,
    ("graphed", 4): 1.1,
    ("graphed", 8): 0.9,
    ("graphed", 16): 0.8,
}


@pytest.fixture
def measured(monkeypatch):
    """Candidates in the order in which they are measured, at made-up costs; some cannot be had."""
    seen, missing = [], {}

    class Made:
        num_steps = 2

        def __init__(self, trial, data, engine, rows):
            for asked in (engine, (engine, trial.seed)):
                if asked in missing:
                    raise missing[asked]
            self.candidate = engine, rows

        def cost(self):
            seen.append(self.candidate)
            return Cost(SECONDS[self.candidate], 0.0)

        def step_s(self, num_steps):
            seen.append((*self.candidate, num_steps))
            return SECONDS[self.candidate] * len(seen)

    monkeypatch.setattr(choice, "Measurement", Made)
    return seen, missing


def test_all_variants_take_turns_in_every_round(measured, monkeypatch):
    """So that what the machine does meanwhile meets them alike."""
    seen, _ = measured
    monkeypatch.setitem(SECONDS, ("eager", 1), 0.004)
    other = replace(TRIAL, seed=7)
    choices = dict.fromkeys((TRIAL, other), Choice("eager", 1, Cost(1.0, 0.0), {}))
    taken = choice.time_steps(choices, None, 3)
    assert seen[:2] == [("eager", 1, 2)] * 2  # how many steps make a turn
    assert seen[2:] == [("eager", 1, 8), ("eager", 1, 4)] * 3  # of 0.03 s at least
    assert taken[TRIAL] == pytest.approx([0.004 * n for n in (3, 5, 7)])
    assert taken[other] == pytest.approx([0.004 * n for n in (4, 6, 8)])


def test_all_variants_are_timed_on_equal_terms(measured):
    """Whether 8 rows or 16 are the faster is often chance: it moved a verdict's seconds."""
    seen, missing = measured
    choices = {
        replace(TRIAL, seed=seed): Choice(engine, rows, Cost(1.0, 0.0), {})
        for seed, (engine, rows) in enumerate([("fused", 8), ("fused", 16), ("eager", 1), ("fused", 16)])
    }
    choice.time_steps(choices, None, 1)
    assert [terms[:2] for terms in seen] == [("fused", 16)] * 8
    seen.clear()
    missing["fused", 2] = InputError("cannot be had side by side")
    choice.time_steps(choices, None, 1)
    assert [terms[:2] for terms in seen[4:]] == [("fused", 16), ("fused", 16), ("eager", 1), ("fused", 16)]


def test_the_least_cost_is_chosen_and_the_hopeless_are_measured_once(measured):
    seen, _ = measured
    found = choose(TRIAL, None, AUTO, most_rows=48)
    assert (found.engine, found.rows, found.cost) == ("fused", 8, Cost(0.5, 0.0))
    assert found.tried == {f"{name} x {rows}": 50 * s for (name, rows), s in SECONDS.items()}
    assert seen == [*SECONDS, *[("fused", 8), ("fused", 16)] * 2]  # in turns


def test_more_rows_are_tried_while_they_gain(measured, monkeypatch):
    """Of large nets, where they gain nothing, each try takes long."""
    seen, _ = measured
    monkeypatch.setitem(SECONDS, ("fused", 8), 0.98)
    found = choose(TRIAL, None, AUTO, most_rows=48)
    assert (found.engine, found.rows) == ("graphed", 16)  # whatever another engine took
    assert ("fused", 16) not in seen


def test_what_takes_long_has_one_round(measured, monkeypatch):
    seen, _ = measured
    monkeypatch.setattr(choice, "_SECONDS", 0.0)
    assert choose(TRIAL, None, AUTO, most_rows=48).rows == 8
    assert seen == [*SECONDS]


def test_no_more_rows_than_there_are_trials(measured):
    assert choose(TRIAL, None, AUTO, most_rows=7).rows == 4
    assert choose(TRIAL, None, "eager", most_rows=7).tried == {"eager x 1": 200.0}


def test_what_cannot_be_had_is_skipped_with_its_reason(measured):
    _, missing = measured
    absent = InputError("needs what is not here")
    missing |= {"fused": absent, "graphed": absent, "eager": RuntimeError("no memory\nat all")}
    found = choose(TRIAL, None, AUTO, most_rows=8)
    assert found.engine == "channels-last"
    assert found.tried["fused x 4"] == "needs what is not here"
    assert found.tried["eager x 1"] == "RuntimeError: no memory"
    with pytest.raises(InputError, match=r"execution\.engine: expected one that can train batch-relu here"):
        choose(TRIAL, None, "fused", most_rows=8)


def test_a_choice_is_read_as_it_was_written(measured):
    found = replace(choose(TRIAL, None, AUTO, most_rows=8), steps_s=(0.25, 0.5))
    assert Choice.read(json.loads(json.dumps(found.document()))) == found


def test_a_real_measurement_leaves_the_process_as_it_was():
    threads = torch.get_num_threads()
    found = choose(TRIAL, make_data(), AUTO, most_rows=4)
    assert torch.get_num_threads() == threads
    assert set(found.tried) == {"eager x 1", "channels-last x 1", "fused x 4", "graphed x 4"}
    assert found.tried.pop("graphed x 4").startswith("execution.engine: expected a CUDA device for 'graphed'")
    assert all(seconds > 0 for seconds in found.tried.values())
    assert found.engine in ENGINES


def test_a_steps_time_is_a_replicas_and_counts_no_evaluation(monkeypatch):
    """Of half as large batches it is less, by CPU time; of a population it is that of one row."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    data = make_data()
    large = replace(TRIAL, batch_size=4 * TRIAL.batch_size)
    choices = {trial: Choice("eager", 1, Cost(1.0, 0.0), {}) for trial in (TRIAL, large)}
    taken = choice.time_steps(choices, data, 5)
    assert all(len(seconds) == 5 for seconds in taken.values())
    assert 1.0 < median(taken[large]) / median(taken[TRIAL]) < 8.0


def test_an_evaluations_cost_is_that_of_all_its_images(monkeypatch):
    """As measured on all of them, within what timings of equal work differ by; by CPU time."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    data = make_data()
    found = choice.Measurement(TRIAL, data, "eager", 1)
    whole = median([found.cost().evaluation_s for _ in range(9)])
    monkeypatch.setattr(choice, "_IMAGES", len(data.validation) // 2)
    found = choice.Measurement(TRIAL, data, "eager", 1)
    part = median([found.cost().evaluation_s for _ in range(9)])
    assert 0.4 < part / whole < 4.0  # half the images: what does not depend on their number counts twice


def test_fused_is_refused_where_threads_would_share_its_sums():
    with pytest.raises(InputError, match=r"expected execution\.threads = 1 for 'fused', found 2"):
        ENGINES["fused"].check(torch.device("cpu"), 2)
