"""What is watched inside the network. Add a probe as one file here and one entry of `PROBES`.

Probes read copies, and their only random numbers, a network's noise, come from its stream by step: nothing
advances, so a trial's numbers are the same with and without them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.func import functional_call

from benchmark.base.registry import lookup
from benchmark.base.section import Section
from benchmark.data.datasets import Split
from benchmark.probes import activations, covariate_shift, gradients, landscape
from benchmark.probes._view import Readings, View
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.networks import Network


@dataclass(frozen=True)
class Probe:
    """One thing to watch.

    Attributes:
        observe: reads it off a view of the network.
        metrics: of each of its readings, the unit and what it is.
    """

    observe: Callable[[View], Readings]
    metrics: Mapping[str, tuple[str, str]]


Noise = list[Tensor] | None
"""A pass' draws, as `Network.forward` takes them."""

PROBES: Mapping[str, Probe] = {
    "gradients": Probe(gradients.observe, gradients.METRICS),
    "activations": Probe(activations.observe, activations.METRICS),
    "landscape": Probe(landscape.observe, landscape.METRICS),
    "covariate-shift": Probe(covariate_shift.observe, covariate_shift.METRICS),
}


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
        walk_rate: the learning rate that landscape walks step at; None: no walks.
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
        loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
        noise: Callable[[int, int], Noise] | None = None,
    ) -> None:
        self._spec = spec
        self._network = network
        self._activation = lookup(ACTIVATIONS, activation, "activation")
        self._last = num_evaluations
        self._walk_rate = walk_rate
        self._loss = loss
        self._noise = noise
        chunk = slice(0, min(spec.num_images, len(split)))
        self._images, self._labels = split.take(chunk), split.labels[chunk]
        self._layers = network.weighted_layers()
        paths = {module: path for path, module in network.named_modules()}
        self._weight_names = {name: f"{paths[layer]}.weight" for name, layer in self._layers.items()}
        self._starts = _starts(network, self._weight_names)

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
        view = self._view(step, tensors, updates)
        readings = [reading for name in self._spec.enabled for reading in PROBES[name].observe(view)]
        if not readings:
            return []
        values = torch.stack([reading.value for reading in readings]).tolist()  # one transfer
        depth = {layer: index for index, layer in enumerate(("all", *self._layers), start=-1)}
        return [
            {
                "step": step,
                "probe": reading.probe,
                "layer": reading.layer,
                "index": depth[reading.layer],
                "value": value,
            }
            for reading, value in zip(readings, values, strict=True)
        ]

    def _view(self, step: int, tensors: dict[str, Tensor], updates: dict[str, Tensor] | None) -> View:
        noise = self._draws(step)
        before = cache(lambda: self._draws(step - 1))  # of one probe alone, and for all layers
        preactivations: dict[str, Tensor] = {}
        hooks = [
            unit.activation.register_forward_hook(_keep_input(preactivations, name))
            for name, unit in self._network.hidden().items()
        ]
        try:
            loss, gradients = self._pass(tensors, noise)
        finally:
            for hook in hooks:
                hook.remove()

        def displaced(displacement: Tensor, draws: Noise = noise) -> tuple[Tensor, Tensor]:
            parts = torch.nn.utils.parameters_to_vector(tensors[name] for name in gradients) + displacement
            moved = dict(
                zip(gradients, torch.split(parts, [g.numel() for g in gradients.values()]), strict=True)
            )
            new_loss, new = self._pass(tensors | {n: moved[n].view_as(tensors[n]) for n in moved}, draws)
            return new_loss, _flat(new)

        def partly_stepped(num_layers: int) -> Tensor:
            assert update is not None
            taken_back = update.clone()
            taken_back[: list(self._starts.values())[num_layers]] = 0
            return displaced(-taken_back, self._mixed(noise, before(), num_layers))[1]

        update = None if updates is None else _flat({name: updates[name] for name in gradients})
        names = self._weight_names.items()
        return View(
            weights={layer: tensors[name].detach() for layer, name in names},
            gradients={layer: gradients[name] for layer, name in names},
            updates=None if updates is None else {layer: updates[name] for layer, name in names},
            preactivations=preactivations,
            activation=self._activation,
            loss=loss,
            gradient=_flat(gradients),
            loss_and_gradient=displaced,
            partly_stepped=None if updates is None else partly_stepped,
            starts=self._starts,
            walk_rate=self._walk_rate,
        )

    def _draws(self, step: int) -> Noise:
        return None if self._noise is None else self._noise(len(self._labels), step)

    def _mixed(self, stepped: Noise, others: Noise, num_layers: int) -> Noise:
        """The draws of `stepped` for the first `num_layers` layers, of `others` for the others."""
        if stepped is None or others is None:
            return None
        depths = [depth for depth, unit in enumerate(self._network.hidden().values()) if unit.takes_noise]
        return [
            new if depth < num_layers else old
            for depth, new, old in zip(depths, stepped, others, strict=True)
        ]

    def _pass(self, tensors: dict[str, Tensor], noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the probe batch, and its gradient by every parameter, by name."""
        # Copies: batch normalization in training mode moves its running statistics.
        own = {name: value.detach().clone() for name, value in tensors.items()}
        parameters = {name: own[name].requires_grad_() for name, _ in self._network.named_parameters()}
        self._network.train()
        logits = functional_call(self._network, own, (self._images, None, noise))
        loss = self._loss(logits, self._labels)
        gradients = torch.autograd.grad(loss, tuple(parameters.values()))
        return loss.detach(), dict(zip(parameters, gradients, strict=True))


def _starts(network: nn.Module, weights: Mapping[str, str]) -> dict[str, int]:
    """Where each layer begins in the flat parameter vector; a layer's weight comes first in it."""
    layers = {weight: layer for layer, weight in weights.items()}
    starts, offset = {}, 0
    for name, parameter in network.named_parameters():
        if name in layers:
            starts[layers[name]] = offset
        offset += parameter.numel()
    return starts


def _flat(parts: dict[str, Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts.values()])


def _keep_input(into: dict[str, Tensor], layer: str) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        into[layer] = inputs[0].detach()

    return hook
