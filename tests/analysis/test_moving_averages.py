"""What a study says of moving averages: the table, the sentences, and torch's own averages as the oracle."""

import dataclasses

import numpy as np
import pytest
import torch
from synthetic_results import CHANCE, make_results

from analysis.claims import sensitivity_table
from analysis.measures import moving_average_table, moving_average_words, statistics
from analysis.report._averages import averages
from benchmark.variants.normalization import Place
from benchmark.variants.norms import NORMALIZATIONS


@pytest.fixture(scope="module")
def results():
    return make_results(activations=("relu",))


@pytest.mark.parametrize("num_steps", [1, 100, 300])
def test_the_start_weighs_what_batch_normalization_itself_leaves_of_it(num_steps):
    layer = NORMALIZATIONS["batch"].build(Place((1, 2, 2))).double()
    layer.running_mean.fill_(1.0)  # what it starts from; every batch after that has mean 0
    for _ in range(num_steps):
        layer(torch.zeros(2, 1, 2, 2, dtype=torch.float64))
    assert layer.running_mean.item() == pytest.approx(statistics.start_weight(num_steps), rel=1e-12)


def test_the_start_is_forgotten_at_the_first_step_at_which_it_weighs_a_hundredth():
    steps = statistics.steps_to_forget()
    assert statistics.start_weight(steps) <= 0.01 < statistics.start_weight(steps - 1)


def with_averages(results, share_of_step):
    """The batch variant's accuracies by moving averages, as a share of those above chance, by step."""

    def averaged(frame, accuracy, steps):
        of = frame["variant"].eq("batch-relu").to_numpy()
        above = frame[accuracy].to_numpy() - CHANCE
        return frame.assign(
            **{f"{accuracy}_ema": CHANCE + above * np.where(of, [share_of_step(step) for step in steps], 1.0)}
        )

    return dataclasses.replace(
        results,
        curves=averaged(results.curves, "val_accuracy", results.curves["step"]),
        trials=averaged(results.trials, "final_val_accuracy", results.trials["num_steps_done"]),
    )


def test_the_table_has_the_cells_of_the_variants_that_differ(results):
    table = moving_average_table(with_averages(results, lambda step: 0.5))
    assert table["variant"].unique().tolist() == ["batch-relu"]
    assert table["learning_rate"].tolist() == results.decisions["grid"]
    assert table["accuracy_ema"].to_numpy() - CHANCE == pytest.approx((table["accuracy"] - CHANCE) / 2)
    assert table["difference"].to_numpy() == pytest.approx(table["accuracy_ema"] - table["accuracy"])
    # half of all, and of the threshold: as many are stable
    assert table["stable_ema"].tolist() == table["stable"].tolist()
    assert table.loc[table["is_best"], "learning_rate"].tolist() == [
        results.decisions["variants"]["batch-relu"]["best_learning_rate"]
    ]


def test_the_step_is_told_from_which_on_the_two_agree(results):
    late = with_averages(results, lambda step: 0.5 if step < 120 else 1.0)
    agreeing, why = moving_average_words(late, moving_average_table(with_averages(late, lambda step: 0.5)))
    assert agreeing.startswith("batch-relu, at its own best rate: ")
    assert agreeing.endswith("from step 120 on they are no further apart than 0.01.")
    assert "0.99^200 = 13.4%" in why
    assert "1% after 459 steps" in why


def test_a_difference_that_stays_is_told(results):
    changed = with_averages(results, lambda step: 0.5)
    words = moving_average_words(changed, moving_average_table(changed))
    assert words[0].endswith("within 200 steps they do not come as near as 0.01 for good.")


def test_the_main_claim_stands_first_by_either_statistics(results):
    first, *_ = averages(results, moving_average_table(results), sensitivity_table(results))
    assert first.startswith("The main claim on the relu net: SUPPORTED (")
    assert first.endswith(" by moving averages.")


def test_where_nothing_differs_there_is_no_section(results):
    same = with_averages(results, lambda step: 1.0)
    table = moving_average_table(same)
    assert table.empty
    assert averages(same, table, sensitivity_table(same)) == []
