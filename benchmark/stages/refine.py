"""Refine: bisect both edges of every variant's and seed's stable rates."""

from collections.abc import Collection

from benchmark.execution.chains import Chain
from benchmark.stages.rates import RateAndSeed, RateSearch
from benchmark.stages.session import Session, result_of
from benchmark.study import plan
from benchmark.variants.variant import Variant

STAGE = "refine"


def refine(session: Session) -> None:
    """Run the refinement of a grid."""
    chains = []
    for variant in session.study.variants.product():
        search = session.rate_search(variant, STAGE)
        known = search.finished().keys()
        chains += [_chain(session, variant, s, search, known) for s in plan.sweep_seeds(session.study)]
    session.run_stage(STAGE, None, chains)
    session.log_decisions()


def _chain(
    session: Session, variant: Variant, seed: int, search: RateSearch, known: Collection[RateAndSeed]
) -> Chain:
    of_variant = session.sweep_results[variant]
    results = {rate: seeds[seed] for rate, seeds in of_variant.items() if seed in seeds}
    for _ in range(session.study.search.num_bisections):
        gaps, none_stable = session.decisions.gaps(variant, results)
        if not gaps:
            return
        if none_stable:
            session.decisions.note_searched(variant, seed)
        rates = [plan.bisect_rate(*gap) for gap in gaps]
        tried = [None if (rate, seed) in known else search.try_rate(rate, seed) for rate in rates]
        trials = [trial for rate in rates for trial in session.trials(variant, rate, [seed], STAGE)]
        outcomes = yield trials
        for cell, trial, outcome in zip(tried, trials, outcomes, strict=True):
            if cell is not None:
                session.tell(cell, [trial], [outcome])
            if outcome is not None:
                results[trial.learning_rate] = result_of(outcome)
        if None in outcomes:
            return
