"""One study run, from its first stage to its last; goes on where a killed one stopped."""

from benchmark.stages.confirm import confirm
from benchmark.stages.gains import vary_gains
from benchmark.stages.refine import refine
from benchmark.stages.session import Session
from benchmark.stages.sweep import sweep


def run_study(session: Session) -> bool:
    """Run all stages; whether every trial came to a result."""
    study = session.study
    try:
        sweep(session)
        if study.search.sampler != "fixed":
            if study.search.sampler == "grid" and study.search.num_bisections:
                refine(session)
            if study.init.gains:
                vary_gains(session)
            confirm(session)
    finally:
        session.log_progress()
    return session.tally.num_failed == 0
