"""Short trajectories, as they were when this was written: no change of the code changes a trial's numbers.

If one is meant to, say so in CHANGELOG.md (results compare only within one protocol version), then write the
files anew and look at the difference:

    UPDATE_GOLDEN=1 python -m pytest tests/benchmark/training/test_golden.py
"""

import json
import os
from pathlib import Path

import pytest
from made_trials import TIMINGS, make_data, make_study, make_trial, run_trial

GOLDEN = Path(__file__).parents[2] / "golden"

# name -> variant, learning rate, sections of the study
CASES = {
    "none-sigmoid": ("none-sigmoid", 0.5, {}),
    "none-relu": ("none-relu", 0.05, {}),
    "batch-sigmoid": ("batch-sigmoid", 0.05, {}),
    "batch-relu": ("batch-relu", 0.05, {}),
    "batch-tanh-augmented": (
        "batch-tanh",
        0.05,
        {"data": {"augmentation": {"shear": 10.0}}, "probes": {"enabled": ["gradients", "activations"]}},
    ),
    # Without batch normalization: before it a bias has no gradient but rounding errors, which these two rules
    # would make into whole steps, another on every machine.
    "none-tanh-rmsprop": ("none-tanh", 0.003, {"optimizer": {"name": "rmsprop", "epsilon_inside": True}}),
    "none-elu-adamw": ("none-elu", 0.003, {"optimizer": {"name": "adamw"}}),
}


def trajectory(name, folder):
    """A trial of eight steps, as JSON has it."""
    variant, rate, sections = CASES[name]
    study = make_study(
        variants={"activations": ["relu", "sigmoid", "tanh", "elu"]},
        search={"sampler": "fixed", "low": rate, "high": rate, "num_rates": 1},
        seeds={"sweep": 7},
        budget={"num_steps": 8, "eval_every": 4},
        **sections,
    )
    evaluations, outcome = run_trial(
        make_trial(study, variant, learning_rate=rate, seed=5), make_data(), folder
    )
    document = {
        "rows": [{k: v for k, v in e.row.items() if k not in TIMINGS} for e in evaluations],
        "probes": [row for evaluation in evaluations for row in evaluation.probes],
        "status": outcome.status,
        "metrics": {k: v for k, v in outcome.metrics.items() if k not in TIMINGS},
    }
    return json.loads(json.dumps(document))


def close(value, **tolerance):
    """What equals `value` but for rounding."""
    if isinstance(value, dict):
        return {key: close(item, **tolerance) for key, item in value.items()}
    if isinstance(value, list):
        return [close(item, **tolerance) for item in value]
    if isinstance(value, float):
        return pytest.approx(value, **tolerance, nan_ok=True)
    return value


@pytest.mark.parametrize("name", CASES)
def test_trajectory(name, tmp_path):
    path = GOLDEN / f"{name}.json"
    found = trajectory(name, tmp_path)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(json.dumps(found, indent=1) + "\n")
        pytest.skip(f"wrote {path.name} anew")
    # Room for another processor's rounding (measured without vector units, and without oneDNN), none for a
    # change. Of the probes some read a single unit, where rounding is seen more.
    golden = json.loads(path.read_text())
    assert found.pop("probes") == close(golden.pop("probes"), rel=1e-3, abs=1e-4)
    assert found == close(golden, rel=1e-5, abs=1e-6)


def test_no_golden_file_is_forgotten():
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)
