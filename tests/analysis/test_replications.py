"""A study beside its replications."""

import dataclasses
import io

import pytest
from rich.console import Console
from synthetic_results import make_results

from analysis.claims import judge_outcomes
from analysis.family import replicates
from analysis.printing import print_replications
from analysis.replications import agreement_words, replications_frame


def again(**changes):
    """A replication of the synthetic study, with other noise and perhaps another truth."""
    made = make_results(activations=("relu",), rng=1, **changes)
    study = made.study | {"name": "synthetic-replication-1", "seeds": made.study["seeds"] | {"first": 8}}
    shifted = {
        name: getattr(made, name).assign(seed=getattr(made, name)["seed"] + 8)
        for name in ("trials", "curves", "probes")
    }
    return dataclasses.replace(made, study=study, **shifted)


def compared(replication):
    own = make_results(activations=("relu",))
    own = dataclasses.replace(own, replications=(replication,))
    return replications_frame(own, judge_outcomes(own))


def test_a_claim_that_is_found_again_agrees():
    frame = compared(again()).set_index("claim")
    row = frame.loc["higher-learning-rate"]
    assert (row["outcome"], row["outcome_again"]) == ("SUPPORTED", "SUPPORTED")
    assert row["low"] <= row["high_again"]
    assert row["low_again"] <= row["high"]
    assert row["agree"]
    assert row["why"] == ""
    assert row["effect_again"] == pytest.approx(1.2, abs=0.2)  # the edges are made 1.2 decades apart
    assert frame.loc["parameter-scale", "agree"]  # evaluable in neither: the same verdict


def test_another_verdict_is_no_agreement():
    row = compared(again(edges={"batch-relu": -0.6})).set_index("claim").loc["higher-learning-rate"]
    assert (row["outcome_again"], row["agree"], row["why"]) == ("REFUTED", False, "another verdict")


def test_nor_are_intervals_that_lie_apart():
    """Both well beyond delta, but one two decades further."""
    row = compared(again(edges={"none-relu": -1.9, "batch-relu": 1.4})).set_index("claim")
    row = row.loc["higher-learning-rate"]
    assert row["outcome_again"] == "SUPPORTED"
    assert (row["agree"], row["why"]) == (False, "the intervals lie apart")


def test_the_table_has_a_row_for_each_and_says_how_many_agree():
    frame = compared(again(edges={"batch-relu": -0.6}))
    assert len(frame) == 9  # the claims but no-vanishing-gradient
    (words,) = agreement_words(frame)
    assert words == f"synthetic-replication-1: {frame['agree'].sum()} of 9 verdicts agree."
    out = io.StringIO()
    print_replications(Console(file=out, width=200), frame, "synthetic")
    assert words in out.getvalue()
    assert "another verdict" in out.getvalue()
    assert "Two verdicts agree if they are the same" in out.getvalue()


def test_what_is_a_replication():
    study = make_results(activations=("relu",)).study
    other = again().study
    assert replicates(study, other)
    assert replicates(study | {"description": "x", "execution": {"workers": 2}}, other)
    assert not replicates(study | {"budget": study["budget"] | {"num_steps": 7}}, other)
    assert not replicates(study | {"data": study["data"] | {"num_validation": 7}}, other)
    assert replicates(study | {"data": study["data"] | {"split_seed": 7}}, other)
