"""Keras as it is measured: the layers and the augmentation of the suite, where it is installed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmark.base.errors import InputError
from benchmark.throughput.nets import NETS, made_data
from benchmark.throughput.ours import Ours
from benchmark.throughput.with_keras import BACKENDS, WithKeras

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")

# In a process of its own: another test's backend would stay.
CODE = """
import json, torch
from benchmark.throughput.nets import NETS, made_data
from benchmark.throughput.with_keras import WithKeras
found = {}
for name in ("digits", "cifar-16"):
    net = NETS[name]
    keras = WithKeras(net.spec(), "batch", made_data(net, torch.device("cpu")), "torch")
    before = [weight.copy() for weight in keras._model.get_weights()]
    took = keras.measure(2)
    moved = [bool((a != b).any()) for a, b in zip(before, keras._model.get_weights())]
    size = sum(weight.size for weight in keras._model.get_weights())
    found[name] = [size, all(moved), took.wall, took.cpu, keras.num_images]
print(json.dumps(found))
"""


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed")
def test_it_trains_as_many_weights_as_the_suite():
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=True,
    )
    for name, (num_weights, moved, wall, cpu, num_images) in json.loads(done.stdout.splitlines()[-1]).items():
        net = NETS[name]
        ours = Ours(net.spec(), "batch", made_data(net, CPU), "eager", 1)
        network = ours._population.problem.network
        running = sum(
            buffer.numel() for buffer in network.buffers() if buffer is not None and buffer.dim() == 1
        )
        assert num_weights == sum(p.numel() for p in network.parameters()) + running
        assert moved
        assert min(wall, cpu) > 0
        assert num_images == net.spec().budget.batch_size


def test_what_is_missing_is_named():
    net = NETS["digits"]
    with pytest.raises(InputError, match="no_such_backend is not installed"):
        WithKeras(net.spec(), "batch", made_data(net, CPU), "no_such_backend")
    assert BACKENDS == ("torch", "jax", "tensorflow")
