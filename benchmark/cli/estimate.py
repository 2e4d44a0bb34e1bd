"""How long a study will take: from a few steps and evaluations of each variant on this device."""

from statistics import fmean

from benchmark.contract import STAGES
from benchmark.data.datasets import DeviceData
from benchmark.stages.axis import measured_choices
from benchmark.study.identity import trial_of
from benchmark.study.spec import StudySpec


def measure(study: StudySpec, data: DeviceData) -> dict[str, float]:
    """Seconds per trial of each stage, mean over variants, each by the engine that would be chosen now.

    A trial's share of what its population takes; populations are assumed to be full.
    """
    choices = measured_choices(study, data)
    return {
        stage: fmean(
            choice.cost.of(trial_of(study, variant, 1.0, 0, stage, "")) for variant, choice in choices.items()
        )
        for stage in STAGES
    }
