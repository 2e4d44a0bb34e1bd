"""How a population's steps are computed. Add an engine as one file here and one entry of `ENGINES`.

Every engine computes the same numbers as `eager`, the reference, as far as its rounding allows, and says how
many replicas it takes at once.
"""

from collections.abc import Mapping

from benchmark.training.engines.base import Engine
from benchmark.training.engines.eager import Eager
from benchmark.training.engines.fused import Fused
from benchmark.training.engines.graphed import Graphed

ENGINES: Mapping[str, Engine] = {
    engine.name: engine
    for engine in (Eager("eager"), Eager("channels-last", channels_last=True), Fused(), Graphed())
}

REFERENCE = "eager"

AUTO = "auto"
"""In place of a name: whichever is fastest."""

__all__ = ["AUTO", "ENGINES", "REFERENCE", "Engine"]
