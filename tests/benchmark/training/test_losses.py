"""Losses against scikit-learn, closed forms and the papers' identities."""

import json
import math

import numpy as np
import pytest
import torch
from made_trials import make_data, make_trial, replica_of, run_trial, study_table
from scipy.optimize import minimize
from sklearn.metrics import log_loss
from torch import nn
from torch.func import functional_call

from benchmark.base.section import Section
from benchmark.contract import CURVE_METRICS, LOSS_UNIT, loss_unit
from benchmark.study.spec import StudySpec
from benchmark.training.losses import LOSSES, CrossEntropy, Focal, MeanSquaredError, loss_cap

ALL = [
    CrossEntropy(),
    CrossEntropy(label_smoothing=0.1),
    MeanSquaredError(),
    Focal(),
    Focal(gamma=0.5),
    Focal(gamma=5.0),
]
LOGITS = 3 * torch.randn(40, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(40) % 7
PROBABILITIES = LOGITS.softmax(1).numpy()
ONE_HOT = np.eye(7)[LABELS.numpy()]


def test_cross_entropy_is_scikit_learns():
    assert CrossEntropy()(LOGITS, LABELS).item() == pytest.approx(log_loss(LABELS, PROBABILITIES))


def test_label_smoothing_mixes_in_the_uniform_distribution():
    target = 0.9 * ONE_HOT + 0.1 / 7  # 1512.00567, section 7
    expected = -(target * np.log(PROBABILITIES)).sum(1).mean()
    assert CrossEntropy(label_smoothing=0.1)(LOGITS, LABELS).item() == pytest.approx(expected)


def test_mse_is_briers_score_by_the_number_of_classes():
    """What Keras makes of it is in test_keras_parity."""
    expected = np.square(PROBABILITIES - ONE_HOT).sum(1).mean() / 7
    assert MeanSquaredError()(LOGITS, LABELS).item() == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_is_its_formula(gamma):
    p = PROBABILITIES[np.arange(40), LABELS.numpy()]
    expected = (-((1 - p) ** gamma) * np.log(p)).mean()
    assert Focal(gamma=gamma)(LOGITS, LABELS).item() == pytest.approx(expected)


def test_focal_without_focus_is_cross_entropy():
    torch.testing.assert_close(Focal(gamma=0.0)(LOGITS, LABELS), CrossEntropy()(LOGITS, LABELS))


@pytest.mark.parametrize("loss", ALL, ids=str)
def test_the_sum_is_of_what_the_mean_is_of(loss):
    torch.testing.assert_close(loss(LOGITS, LABELS, "none").mean(), loss(LOGITS, LABELS))


@pytest.mark.parametrize("loss", ALL, ids=str)
def test_gradients_are_finite_where_the_prediction_is_certain(loss):
    for scale in (1e4, -1e4):
        logits = (scale * nn.functional.one_hot(LABELS, 7).float()).requires_grad_()
        (gradient,) = torch.autograd.grad(loss(logits, LABELS), logits)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("num_classes", [2, 7, 100])
@pytest.mark.parametrize("loss", ALL, ids=str)
def test_the_cap_is_the_best_constant_predictors(loss, num_classes):
    """Found by minimizing over constant logits, from a random start, on balanced classes."""
    labels = torch.arange(num_classes)

    def of(logits):
        point = torch.from_numpy(logits).requires_grad_()
        value = loss(point.expand(num_classes, -1), labels)
        (gradient,) = torch.autograd.grad(value, point)
        return value.item(), gradient.numpy()

    start = np.random.default_rng(0).normal(0, 0.5, num_classes)
    best = minimize(of, start, jac=True, tol=1e-12)
    assert loss_cap(num_classes, loss) == pytest.approx(best.fun, rel=1e-6)
    assert loss_cap(num_classes, loss) == pytest.approx(of(np.zeros(num_classes))[0])


def test_a_study_is_trained_and_judged_by_its_loss(tmp_path):
    data, hashes, finals = make_data(), set(), {}
    for loss in ALL[:4]:
        table = study_table(loss=loss.model_dump(mode="json"), probes={"enabled": ["gradients"]})
        study = StudySpec.model_validate_json(json.dumps(table))
        trial = make_trial(study, "batch-relu", learning_rate=0.3)
        hashes.add(trial.hash)
        evaluations, outcome = run_trial(trial, data, tmp_path / trial.hash)
        logits = functional_call(
            replica_of(trial, data, tmp_path / "other").network.eval(),
            torch.load(tmp_path / trial.hash / "last.pt"),
            (data.validation.take(slice(None)),),
        )
        judged = loss(logits, data.validation.labels).item()
        assert evaluations[-1].row["val_loss_ema"] == pytest.approx(judged, rel=1e-4)
        assert outcome.status == "trained"
        finals[str(loss)] = outcome.metrics["final_val_loss"] / loss_cap(4, loss)
    assert len(hashes) == 4
    assert all(final < 0.9 for final in finals.values())


def test_a_diverged_trial_counts_as_its_losss_cap(tmp_path):
    table = study_table(loss={"name": "focal"})
    study = StudySpec.model_validate_json(json.dumps(table))
    _, outcome = run_trial(make_trial(study, "none-relu", learning_rate=1e30), make_data(), tmp_path)
    assert outcome.status == "diverged"
    assert outcome.metrics["final_val_loss"] == pytest.approx(0.75**2 * math.log(4))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_sections_named_as_their_entry(name):
    loss = LOSSES[name]()
    assert loss.name == name
    assert isinstance(loss, Section)
    assert type(loss).__doc__
    assert loss_unit(CURVE_METRICS["val_loss"][0], loss.unit) == loss.unit
    assert loss_unit("share", loss.unit) == "share"
    assert CrossEntropy().unit == LOSS_UNIT
