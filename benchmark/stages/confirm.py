"""Confirm: fresh seeds for the cells that the claims compare."""

from collections.abc import Mapping

from benchmark.contract import BASELINE, LANDSCAPE
from benchmark.execution.chains import Chain
from benchmark.stages.session import Session
from benchmark.study import plan
from benchmark.training.trial import Trial
from benchmark.variants.variant import Variant

STAGE = "confirm"


def confirm(session: Session) -> None:
    """Run the confirm cells.

    Seed by seed: the trials of a pair run close together, so that a machine that gets busier or idler on the
    way does not pass for a faster variant.
    """
    study, decisions = session.study, session.decisions
    decisions.confirm = plan.confirm_cells(study, decisions.best)
    session.log_decisions()
    walks = LANDSCAPE in study.probes.enabled

    def trials(cell: plan.ConfirmCell, seed: int) -> list[Trial]:
        own = {"walk_rate": walk_rate(cell, decisions.best) if walks else None}
        return session.trials(cell.variant, cell.learning_rate, [seed], STAGE, **own)

    def chain(seed: int) -> Chain:
        yield [trial for cell in decisions.confirm for trial in trials(cell, seed)]

    seeds = plan.confirm_seeds(study)
    session.run_stage(STAGE, len(decisions.confirm) * len(seeds), [chain(seed) for seed in seeds])


def walk_rate(cell: plan.ConfirmCell, best: Mapping[Variant, float | None]) -> float | None:
    """The rate that a cell's landscape walks share with the other variants of its activation, or None.

    Nets that train at the best rate of one of these walk: at their own, and where they are compared. A walk
    is four passes per reading, and nobody would read those at the other multiples.
    """
    compared = [rate for variant, rate in best.items() if variant.activation == cell.variant.activation]
    shared = best.get(Variant(BASELINE, cell.variant.activation))
    return shared if cell.learning_rate in compared else None
