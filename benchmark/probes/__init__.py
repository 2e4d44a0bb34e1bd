"""What is watched inside the network. Add a probe as one file here and one entry of `PROBES`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmark.probes import activations, covariate_shift, gradients, landscape
from benchmark.probes._view import Readings, View


@dataclass(frozen=True)
class Probe:
    """One thing to watch.

    Attributes:
        observe: reads it off a view of the network.
        metrics: of each of its readings, the unit and what it is.
    """

    observe: Callable[[View], Readings]
    metrics: Mapping[str, tuple[str, str]]


PROBES: Mapping[str, Probe] = {
    "gradients": Probe(gradients.observe, gradients.METRICS),
    "activations": Probe(activations.observe, activations.METRICS),
    "landscape": Probe(landscape.observe, landscape.METRICS),
    "covariate-shift": Probe(covariate_shift.observe, covariate_shift.METRICS),
}
