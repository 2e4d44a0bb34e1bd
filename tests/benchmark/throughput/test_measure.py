"""The measurement, on tiny sizes: what it says of each candidate, and how a table is made of it."""

import csv
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_engines import ON_CPU
from running import main_of

from benchmark.base.errors import InputError
from benchmark.throughput import command, measure, ours
from benchmark.throughput.ceilings import CEILINGS
from benchmark.throughput.measure import (
    BASELINE,
    COLUMNS,
    QUICK,
    REPLICAS,
    TRIAL_COLUMNS,
    Meter,
    candidates,
    quartiles,
)
from benchmark.throughput.nets import NETS, made_data, trials_of
from benchmark.throughput.ours import Ours, TrialTook, measure_trial
from benchmark.throughput.processes import Candidate
from benchmark.throughput.table import skipped_lines, steps_table, trials_table, write_tables
from benchmark.throughput.timing import Took
from benchmark.training.engines import ENGINES

ROOT = Path(__file__).parents[3]
EAGER = Candidate("ours", "eager")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def measured():
    """The script and the reference engine, alone and side by side, and a candidate that is not there."""
    asked = [
        BASELINE,
        Candidate("ours", "eagre"),
        EAGER,
        replace(EAGER, processes=2),
    ]
    with Meter(asked, QUICK, "cpu", lambda message: None) as meter:
        return meter.measure()


def by_candidate(measured):
    return {(row["candidate"], row["processes"]): row for row in measured.rows}


def test_every_candidate_has_its_line(measured):
    assert list(by_candidate(measured)) == [
        ("conventional", 1), ("eagre", 1), ("eager", 1), ("eager", 2)
    ]  # fmt: skip
    assert all(tuple(row) == COLUMNS for row in measured.rows)


def test_what_cannot_run_says_why(measured):
    row = by_candidate(measured)["eagre", 1]
    assert row["skipped"].startswith("unknown engine 'eagre': did you mean 'eager'?")
    assert row["images_per_s"] is None


def test_the_baseline_is_what_others_are_compared_with(measured):
    row = by_candidate(measured)["conventional", 1]
    assert row["ratio"] == row["ratio_q1"] == row["ratio_q3"] == row["cpu_ratio"] == 1.0


def test_speeds_are_of_the_whole_row(measured):
    one, two = (by_candidate(measured)["eager", processes] for processes in (1, 2))
    assert one["batch_size"] == two["batch_size"] == 32
    assert one["images_per_s_per_replica"] == one["images_per_s"]
    assert two["images_per_s_per_replica"] == pytest.approx(two["images_per_s"] / 2)
    for row in (one, two):
        assert row["images_per_s_q1"] <= row["images_per_s"] <= row["images_per_s_q3"]
        assert row["rounds"] == QUICK.rounds
        assert row["steps"] >= 1
        assert row["cpu_s_per_1000"] > 0


def test_shares_are_those_of_the_nearest_ceiling(measured):
    for row in by_candidate(measured).values():
        if row["skipped"] is None:
            found = {name: row[f"share_{name}"] for name in CEILINGS}
            assert all(0 <= share < 1 for share in found.values())
            assert found[row["limit"]] == max(found.values())
            assert row["launches"] > 50


def test_each_number_of_processes_and_threads_has_its_ceilings(measured):
    assert set(measured.machines) >= {(1, 1), (2, 1)}


def test_whole_trials_are_timed(measured):
    """Of the reference, and of what `auto` takes where it is another."""
    missing, row, *auto = measured.trials
    assert missing["skipped"].startswith("unknown engine 'eagre'")
    assert (row["candidate"], row["replicas"]) == ("eager", 1)
    known = [line for line in (row, *auto) if line["auto_against_best"] is not None]
    assert len(known) == 1
    assert 0 < known[0]["auto_against_best"] <= 1
    for line in (row, *auto):
        assert tuple(line) == tuple(missing) == TRIAL_COLUMNS
        # 200 steps and 51 evaluations.
        assert line["trial_s"] == pytest.approx(200 * line["step_ms"] / 1000 + 51 * line["evaluation_s"])
        assert 0 < line["evaluation_share"] < 1


def test_the_tables_are_written_and_shown(measured, tmp_path):
    path = write_tables(tmp_path, measured.rows, measured.trials)
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    assert [line["candidate"] for line in lines] == [row["candidate"] for row in measured.rows]
    assert float(lines[2]["ratio"]) == pytest.approx(measured.rows[2]["ratio"], rel=1e-5)
    assert lines[1]["images_per_s"] == ""
    with (tmp_path / "trials.csv").open(newline="") as file:
        assert tuple(csv.DictReader(file).fieldnames) == TRIAL_COLUMNS
    assert steps_table(measured.rows).row_count == 3
    assert trials_table(measured.trials).row_count == len(measured.trials) - 1
    (skipped,) = skipped_lines(measured.rows * 2)
    assert skipped.startswith("skipped: eagre, 1 x 1: unknown engine 'eagre'")


@pytest.mark.parametrize("name", ON_CPU)
def test_an_engine_advances_as_many_replicas_as_it_takes(name):
    """Through its seam: every row's steps, and the images of all rows."""
    study, data = NETS["digits"].spec(), made_data(NETS["digits"], CPU)
    rows = max(count for count in REPLICAS if count <= ENGINES[name].max_rows)
    candidate = Ours(study, "batch", data, name, rows)
    done = [row.num_steps_done for row in candidate._population.rows]
    took = candidate.measure(3)
    assert [row.num_steps_done for row in candidate._population.rows] == [steps + 3 for steps in done]
    assert candidate.num_images == 32 * rows
    assert took.wall > 0
    assert candidate.launches > 0


def test_candidates_are_all_engines_with_all_replicas(monkeypatch):
    class Many:
        name = "many"
        max_rows = 9

    monkeypatch.setitem(measure.ENGINES, "many", Many())
    found = [c for c in candidates("cpu") if c.name == "many"]
    assert [(c.replicas, c.processes, c.threads) for c in found] == [
        (1, 1, 1), (4, 1, 1), (8, 1, 1), (8, 1, 2), (8, 2, 1)
    ]  # fmt: skip
    assert [c.label for c in found[:2]] == ["many", "many R=4"]
    on_a_device = [c for c in candidates("cuda") if c.name == "many"]
    assert [c.replicas for c in on_a_device] == [1, 4, 8]
    assert all(c.processes == c.threads == 1 for c in on_a_device)
    assert candidates("cpu")[0] == BASELINE


def test_large_nets_are_measured_with_fewer_replicas():
    asked = [BASELINE, *(Candidate("ours", "many", count) for count in REPLICAS)]
    asked += [Candidate("ours", "many", 16, processes=2)]
    found = [(c.replicas, c.processes) for c in measure.at_most(asked, 4)]
    assert found == [(1, 1), (1, 1), (4, 1), (4, 2)]
    assert measure.at_most(asked, 16) == asked


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_that_refuses_its_threads_says_why(name, monkeypatch):
    def refuse(device, threads):
        raise InputError(f"not on {device} with {threads}")

    monkeypatch.setattr(ENGINES[name], "check", refuse)
    study, data = NETS["digits"].spec(), made_data(NETS["digits"], CPU)
    with pytest.raises(InputError, match="not on cpu with"):
        Ours(study, "batch", data, name, 1)
    with pytest.raises(InputError, match="not on cpu with"):
        measure_trial(study, "batch", data, name, 1)


def test_trials_are_of_one_population_with_the_threads_asked_for():
    trials = trials_of(NETS["small"].spec(), "batch", 4, 2)
    assert len({trial.shared_hash for trial in trials}) == 1
    assert [trial.seed for trial in trials] == [0, 1, 2, 3]
    assert {trial.threads for trial in trials} == {2}
    assert trials[0].network.width == 12


def test_the_nets_are_the_studies():
    specs = {name: net.spec() for name, net in NETS.items()}
    sizes = [(spec.network.width, spec.network.blocks, spec.budget.batch_size) for spec in specs.values()]
    assert sizes == [(8, 3, 32), (12, 3, 32), (16, 5, 80), (60, 5, 80)]
    assert [spec.network.dropout for spec in specs.values()] == [0.15, 0.0, 0.15, 0.15]
    assert [spec.data.augmentation is not None for spec in specs.values()] == [False, False, True, True]
    for name, net in NETS.items():
        assert net.num_validation == specs[name].data.num_validation


def test_speeds_by_hand():
    """Four rounds: 100 images in 1, 2, 1, 4 s; the baseline 50 images in 1, 1, 2, 2 s."""
    base = measure._base(50, [Took(1, 1), Took(1, 2), Took(2, 1), Took(2, 2)])
    took = [Took(1, 1), Took(2, 1), Took(1, 3), Took(4, 4)]
    row = measure._speeds(100, 4, took, base)
    assert row["images_per_s"] == 75  # of 100, 50, 100, 25
    assert row["images_per_s_per_replica"] == 75 / 4
    assert row["ratio"] == 1.5  # of 2, 1, 4, 1
    assert (row["ratio_q1"], row["ratio_q3"]) == (1.0, 2.5)
    assert row["cpu_s_per_1000"] == 20  # of 10, 10, 30, 40
    assert row["cpu_ratio"] == 0.75  # of 1/2, 1/4, 3/2, 1
    assert quartiles([1, 2, 3, 4, 5]) == (2, 3, 4)


def test_a_trial_is_composed_of_its_parts():
    took = TrialTook(step=0.01, evaluation=0.2, num_steps=100, num_evaluations=5)
    assert took.whole == pytest.approx(2.0)
    assert took.evaluation_share == pytest.approx(0.5)


@pytest.mark.parametrize("name", ON_CPU)
def test_a_trials_parts_are_near_the_whole(name, monkeypatch):
    """All of short trials, and what their parts say; by CPU time, which what runs beside it moves less."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    net = NETS["digits"]
    study = net.spec()
    budget = study.budget.model_copy(update={"num_steps": 60, "confirm_eval_every": 20})
    study, data = study.model_copy(update={"budget": budget}), made_data(net, CPU)
    rows = min(4, ENGINES[name].max_rows)
    part = measure_trial(study, "batch", data, name, rows)
    monkeypatch.setattr(ours, "_TRIAL_STEPS", 60)
    began = time.perf_counter()
    whole = measure_trial(study, "batch", data, name, rows)
    seconds = time.perf_counter() - began
    assert (part.num_steps, part.num_evaluations) == (60, 4)
    assert 0.3 * seconds < rows * whole.whole < 1.3 * seconds
    assert part.whole == pytest.approx(whole.whole, rel=0.7)


def test_what_auto_takes_is_told_from_the_best():
    """Two rounds: it takes 4 and 3 s, the other 2 and 6 s; the best of each over its own, 0.5 and 1."""
    other = Candidate("ours", "fused", 4)

    def took(seconds):
        return TrialTook(step=seconds, evaluation=0.0, num_steps=1, num_evaluations=1)

    rounds = [{EAGER: took(4), other: took(2)}, {EAGER: took(3), other: took(6)}]
    assert measure._trial_row(rounds, EAGER, is_auto=True)["auto_against_best"] == 0.75
    row = measure._trial_row(rounds, other, is_auto=False)
    assert "auto_against_best" not in row
    assert (row["trial_s"], row["rounds"]) == (4, 2)


def test_in_a_hurry_neither_keras_nor_side_by_side_is_started():
    found = candidates("cpu", quick=True)
    assert found[:2] == [BASELINE, EAGER]
    assert all(c.kind == "ours" and c.processes == c.threads == 1 for c in found[1:])


def test_the_command_prints_the_table_and_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "candidates", lambda device, *, quick: [BASELINE, EAGER])
    code, out, errors = main_of(
        "benchmark", tmp_path, "throughput", "--quick", "--device", "cpu", "--out", "q"
    )
    assert code == 0, errors
    *table, path = out.splitlines()
    assert path == "q/throughput.csv"
    assert any(line.split()[:2] == ["digits", "yes"] and "conventional" in line for line in table)
    assert any(line.split()[:3] == ["digits", "yes", "eager"] for line in table)
    names = {"throughput.csv", "trials.csv", "environment.json"}
    assert {written.name for written in (tmp_path / "q").iterdir()} == names
