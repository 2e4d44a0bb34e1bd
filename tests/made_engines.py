"""Engines as far as a machine without CUDA has them: which run on a CPU, and recordings that are run anew."""

import torch

from benchmark.base.errors import InputError
from benchmark.training.engines import ENGINES
from benchmark.training.engines.graphed import Graphed


class Rerun:
    """Records for any device: what is replayed is the work itself, run again."""

    def __init__(self, device):
        self.device = device

    def warm_up(self, work):
        work()

    def record(self, work):
        return work


def runs_on_cpu(engine):
    try:
        engine.check(torch.device("cpu"), 1)
    except InputError:
        return False
    return True


ON_CPU = {name: engine for name, engine in ENGINES.items() if runs_on_cpu(engine)}


def engine_on(engine, device):
    """An engine; of one that records CUDA graphs, on another device, the form that runs them anew."""
    return Graphed(Rerun) if engine.name == "graphed" and device.type != "cuda" else engine
