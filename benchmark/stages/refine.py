"""Refine: bisect every variant's and seed's stability edge."""

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
        stable, unstable = session.decisions.edges(variant, results)
        if stable is None or unstable is None:
            return
        rate = plan.bisect_rate(stable, unstable)
        tried = None if (rate, seed) in known else search.try_rate(rate, seed)
        trials = session.trials(variant, rate, [seed], STAGE)
        outcomes = yield trials
        if tried is not None:
            session.tell(tried, trials, outcomes)
        if outcomes[0] is None:
            return
        results[rate] = result_of(outcomes[0])
