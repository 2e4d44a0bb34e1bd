"""Variants as data, names in words; and whether results made up for tests are true to logged ones."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from synthetic_results import make_results

from analysis.results import CURVE_FRAME, PROBE_FRAME, TRIAL_FRAME, Variant
from benchmark import contract
from benchmark.probes import PROBES

DECLARED = {name for probe in PROBES.values() for name in probe.metrics}
"""Names under which the product's probes log."""


@pytest.fixture(scope="module")
def results():
    return make_results(
        seeds=1,
        confirm_seeds=1,
        num_bisections=0,
        activations=("hard-tanh", "relu"),
        normalizations=("none", "batch-renorm", "none-he"),
        with_probes=True,
        with_landscape=True,
    )


def test_variants_are_data(results):
    assert results.variants == [
        "none-hard-tanh",
        "batch-renorm-hard-tanh",
        "none-he-hard-tanh",
        "none-relu",
        "batch-renorm-relu",
        "none-he-relu",
    ]
    assert results.planned["batch-renorm-hard-tanh"] == Variant("batch-renorm", "hard-tanh")
    frame = results.with_names(pd.DataFrame({"variant": ["none-he-relu", "batch-renorm-hard-tanh"]}))
    assert frame["normalization"].tolist() == ["none-he", "batch-renorm"]
    assert frame["activation"].tolist() == ["relu", "hard-tanh"]
    assert list(results.with_names(frame.iloc[:0])) == ["variant", "normalization", "activation"]


def test_words_and_competitors_are_what_was_logged(results):
    assert results.competitors == ["none-he"]
    assert results.words("none-he") == "He initialization"
    named = results.schema["normalizations"] | {"none-he": {"words": "anything", "is_competitor": False}}
    other = dataclasses.replace(results, schema=results.schema | {"normalizations": named})
    assert (other.competitors, other.words("none-he")) == ([], "anything")


def test_made_up_results_have_the_columns_of_logged_ones(results):
    assert tuple(results.trials) == TRIAL_FRAME
    assert tuple(results.curves) == CURVE_FRAME
    assert tuple(results.probes) == PROBE_FRAME
    ended = results.trials.drop(columns=["test_loss", "test_accuracy"])
    assert ended.notna().all(axis=None)
    assert np.isfinite(results.trials.query("stage == 'confirm'")["test_accuracy"]).all()


def test_made_up_probes_go_by_the_products_names(results):
    made = set(results.probes["probe"])
    assert contract.GRADIENT_NORM in made
    assert made <= DECLARED


def test_the_contracts_probes_are_the_products():
    named = {
        contract.GRADIENT_NORM,
        contract.SATURATED_SHARE,
        contract.DEAD_SHARE,
        contract.COVARIATE_SHIFT,
        contract.COVARIATE_SHIFT_COSINE,
        contract.COVARIATE_SHIFT_RELATIVE,
        contract.PREACTIVATION_P15,
        contract.PREACTIVATION_P50,
        contract.PREACTIVATION_P85,
        contract.LANDSCAPE_SMOOTHNESS,
        contract.LANDSCAPE_SMOOTHNESS + contract.OWN_RATE,
        contract.LANDSCAPE_LOSS_MIN,
        contract.LANDSCAPE_LOSS_MAX,
        contract.LANDSCAPE_GRADIENT_CHANGE_MIN,
        contract.LANDSCAPE_GRADIENT_CHANGE_MAX,
    }
    assert named <= DECLARED
    assert contract.LANDSCAPE in PROBES
