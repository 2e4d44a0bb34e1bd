"""Running the probes of a trial.

Probes read copies, and their only random numbers, a network's noise, come from its stream by step: nothing
advances, so a trial's numbers are the same with and without them.
"""

from collections.abc import Callable
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from benchmark.base.registry import lookup
from benchmark.base.section import Section
from benchmark.contract import WHOLE_NETWORK
from benchmark.data.datasets import Split
from benchmark.probes import PROBES
from benchmark.probes._view import Batch, Noise, View
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.networks import Network


class ProbesSpec(Section):
    """The `[probes]` section.

    Attributes:
        enabled: names in `PROBES`.
        every: watch at initialization, at every `every`-th evaluation, and at the last.
        num_images: size of the fixed probe batch.
    """

    enabled: tuple[str, ...] = ()
    every: int = Field(default=1, ge=1)
    num_images: int = Field(default=64, ge=2)

    @field_validator("enabled")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            lookup(PROBES, name, "probe")
        if len(set(names)) != len(names):
            raise ValueError(f"expected each probe once, found {', '.join(names)}")
        return names


class Probes:
    """The probes of one trial.

    Args:
        spec: which, and how often.
        network: what to watch; its own tensors are not read.
        activation: the name of its activation.
        split: fixed training images; the first of them are the probe batch.
        num_evaluations: how many evaluations follow the one at initialization.
        walk_rate: the learning rate that all variants' landscape walks step at; None: no walks.
        own_rate: the learning rate that the network trains at.
        loss: mean loss of logits [N, K] and labels [N].
        noise: (number of images, step) -> the draws of a network that takes noise; None: no noise.
    """

    def __init__(
        self,
        spec: ProbesSpec,
        network: Network,
        activation: str,
        split: Split,
        num_evaluations: int,
        walk_rate: float | None = None,
        own_rate: float = 1.0,
        loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
        noise: Callable[[int, int], Noise] | None = None,
    ) -> None:
        self._spec = spec
        self._network = network
        self._activation = lookup(ACTIVATIONS, activation, "activation")
        self._last = num_evaluations
        self._rates = walk_rate, own_rate
        self._noise = noise
        chunk = slice(0, min(spec.num_images, len(split)))
        self._batch = Batch(split.take(chunk), split.labels[chunk], loss)
        self._depth = {
            layer: index for index, layer in enumerate((WHOLE_NETWORK, *network.weighted_layers()), start=-1)
        }

    def due(self, evaluation: int) -> bool:
        """Whether to watch at the `evaluation`-th evaluation; 0 is the one at initialization."""
        return bool(self._spec.enabled) and (evaluation % self._spec.every == 0 or evaluation == self._last)

    def observe(
        self, step: int, tensors: dict[str, Tensor], updates: dict[str, Tensor] | None
    ) -> list[dict[str, Any]]:
        """Watch the network at the given tensors, which stay as they are.

        Args:
            step: training steps taken.
            tensors: parameters and buffers by name.
            updates: what the last training step added to each parameter; None before the first.

        Returns:
            Rows (step, probe, layer, index, value); index is the layer's depth from 0, -1 for all.
        """

        def draws(offset: int) -> Noise:
            return None if self._noise is None else self._noise(len(self._batch.labels), step + offset)

        view = View(self._network, self._activation, self._batch, tensors, updates, draws, *self._rates)
        readings = [reading for name in self._spec.enabled for reading in PROBES[name].observe(view)]
        if not readings:
            return []
        values = torch.stack([reading.value for reading in readings]).tolist()  # one transfer
        return [
            {
                "step": step,
                "probe": reading.probe,
                "layer": reading.layer,
                "index": self._depth[reading.layer],
                "value": value,
            }
            for reading, value in zip(readings, values, strict=True)
        ]
