"""Gains: each variant at its best rate, from initial weights of other scales."""

from benchmark.execution.chains import Chain
from benchmark.stages.session import Session
from benchmark.study import plan
from benchmark.variants.variant import Variant

STAGE = "gains"


def vary_gains(session: Session) -> None:
    """Run every variant that has a best rate with every gain that the sweep has not."""
    study = session.study

    def chain(variant: Variant, rate: float, gain: float) -> Chain:
        yield session.trials(variant, rate, plan.sweep_seeds(study), STAGE, init_gain=gain)

    chains = [
        chain(variant, rate, gain)
        for variant, rate in session.decisions.best.items()
        if rate is not None
        for gain in plan.other_gains(study)
    ]
    session.run_stage(STAGE, len(chains) * study.seeds.sweep, chains)
