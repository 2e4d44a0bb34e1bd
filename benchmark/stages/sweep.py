"""Sweep: every variant at every rate; then the grid grows while a best rate lies on its edge."""

from collections.abc import Iterator

from benchmark.execution.chains import Chain
from benchmark.stages.rates import RateSearch, TriedRate
from benchmark.stages.session import Session
from benchmark.study import plan
from benchmark.training.events import Outcome
from benchmark.training.trial import Trial
from benchmark.variants.variant import Variant

STAGE = "sweep"


def sweep(session: Session) -> None:
    """Run the sweep, and select each variant's best rate."""
    study, decisions = session.study, session.decisions
    decisions.grid = plan.grid(study)
    searches = {variant: session.rate_search(variant, STAGE) for variant in study.variants.product()}
    num_trials = len(searches) * study.search.num_rates * study.seeds.sweep
    session.run_stage(STAGE, None if study.search.pruning else num_trials, _chains(session, searches))
    decisions.select(study, session.sweep_results)
    while study.search.sampler == "grid" and decisions.num_extensions < study.search.num_extensions:
        new = _extension(session)
        if not new:
            break
        decisions.num_extensions += 1
        chains = [_extension_chain(session, v, searches[v], rate) for v in searches for rate in new]
        session.note(f"a best rate lies on the grid's edge: trying {', '.join(f'{r:g}' for r in new)}")
        session.run_stage(STAGE, len(chains) * study.seeds.sweep, chains)
        decisions.select(study, session.sweep_results)
    session.log_decisions()


def _extension(session: Session) -> list[float]:
    """Rates to add for all variants: two beyond each edge where a best rate lies."""
    decisions, old = session.decisions, session.decisions.grid
    edges = {rate for variant, rate in decisions.best.items() if decisions.at_edge[variant]}
    grid = old
    if old[0] in edges:
        grid = plan.extend_grid(grid, upwards=False)
    if old[-1] in edges:
        grid = plan.extend_grid(grid, upwards=True)
    decisions.grid = grid
    return [rate for rate in grid if rate not in old]


def _chains(session: Session, searches: dict[Variant, RateSearch]) -> Iterator[Chain]:
    spec = session.study.search
    for variant, search in searches.items():
        done = {rate: num_seeds for (rate, _), num_seeds in search.finished().items()}
        if spec.sampler == "grid":  # extensions come later, as they did the first time
            done = {rate: num_seeds for rate, num_seeds in done.items() if rate in session.decisions.grid}
        for rate, num_seeds in done.items():
            yield _rate_chain(session, variant, rate, None, num_seeds)
        remaining = spec.num_rates - len(done)
        if spec.sampler == "tpe":
            yield _adaptive_chain(session, variant, search, remaining)
        else:
            for _ in range(remaining):
                tried = search.ask()
                yield _rate_chain(session, variant, tried.learning_rate, tried)


def _rate_chain(
    session: Session,
    variant: Variant,
    rate: float,
    tried: TriedRate | None,
    num_seeds: int | None = None,
) -> Chain:
    """The sweep seeds of a rate, or the first few; `tried` is None where its search knows its value."""
    trials = session.trials(variant, rate, plan.sweep_seeds(session.study)[:num_seeds], STAGE)
    outcomes = yield trials
    if tried is not None:
        session.tell(tried, trials, outcomes)


def _extension_chain(session: Session, variant: Variant, search: RateSearch, rate: float) -> Chain:
    tried = None if (rate, None) in search.finished() else search.try_rate(rate)
    return _rate_chain(session, variant, rate, tried)


def _adaptive_chain(session: Session, variant: Variant, search: RateSearch, count: int) -> Chain:
    """One rate after another, each chosen knowing the last; with pruning, one seed after another."""
    prunes = session.study.search.pruning
    for _ in range(count):
        tried = search.ask()
        trials = session.trials(variant, tried.learning_rate, plan.sweep_seeds(session.study), STAGE)
        run: list[Trial] = []
        outcomes: list[Outcome | None] = []
        pruned = False
        batches = [[trial] for trial in trials] if prunes else [trials]
        for number, batch in enumerate(batches):
            run += batch
            outcomes += yield batch
            latest = outcomes[-1]
            if prunes and latest is not None:
                pruned = tried.should_stop(number, session.capped_loss(latest))
                if pruned:
                    break
        session.tell(tried, run, outcomes, pruned=pruned)
