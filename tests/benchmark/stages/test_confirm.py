"""Which confirm cells walk along the gradient, and at which rate."""

from benchmark.stages.confirm import walk_rate
from benchmark.study.files import load_study
from benchmark.study.plan import confirm_cells
from benchmark.variants.variant import Variant

NONE, BATCH, NOISY = (Variant(name, "relu") for name in ("none", "batch", "batch-noisy"))


def test_what_is_compared_walks_at_the_unnormalized_nets_best_rate():
    best = {NONE: 0.01, BATCH: 0.1, NOISY: 0.05, Variant("none", "tanh"): 0.3}
    cells = confirm_cells(load_study("landscape-small"), best)
    walking = {(cell.variant, cell.learning_rate) for cell in cells if walk_rate(cell, best) is not None}
    # 0.05 is five times the unnormalized net's best rate, and another's own.
    assert walking == {
        (NONE, 0.01),
        (BATCH, 0.01),
        (BATCH, 0.1),
        (BATCH, 0.05),
        (NOISY, 0.01),
        (NOISY, 0.05),
        (Variant("none", "tanh"), 0.3),
    }
    assert {walk_rate(cell, best) for cell in cells if cell.variant.activation == "relu"} == {0.01, None}


def test_nobody_walks_where_the_unnormalized_net_has_no_best_rate():
    best = {NONE: None, BATCH: 0.1}
    assert all(walk_rate(cell, best) is None for cell in confirm_cells(load_study("landscape-small"), best))
