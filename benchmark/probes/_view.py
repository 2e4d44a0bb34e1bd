"""What every probe looks at: one network on one fixed batch, computed as far as it is asked for, and once.

Shapes: P trainable parameters, N images of the probe batch, F filters, H x W positions, K classes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmark.variants.activations import Activation
from benchmark.variants.networks import Network

Noise = list[Tensor] | None
"""A pass' draws, as `Network.forward` takes them."""


@dataclass(frozen=True)
class Batch:
    """What a network is watched on.

    Attributes:
        images: [N, C, H, W].
        labels: [N] int64.
        loss: mean loss of logits [N, K] and labels [N].
    """

    images: Tensor
    labels: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class _Pass:
    """A forward and backward pass.

    Attributes:
        loss: mean of the batch.
        gradients: by parameter.
        preactivations: what entered the activations, by layer.
        effective: what a layer multiplied by and the gradient by it, of layers with reparametrized weights.
    """

    loss: Tensor
    gradients: dict[str, Tensor]
    preactivations: dict[str, Tensor]
    effective: dict[str, tuple[Tensor, Tensor]]


class View:
    """A network seen from inside, in training mode (batch statistics), dropout off, on one fixed batch.

    Properties are computed when they are first read: weights and updates cost nothing, gradients and
    preactivations share one pass, and each displacement is a pass of its own. A normalization that takes
    noise takes the draws of the step that comes next, the same in every pass; `partly_stepped` alone takes
    those of the last one.

    Args:
        network: its own tensors are not read.
        activation: its activation.
        batch: what it is watched on.
        tensors: parameters and buffers by name; they stay as they are.
        updates: what the last training step added to each parameter; None before the first.
        draws: how many steps from the next one (-1: the last) -> the draws of that step; None: no noise.
        walk_rate: the learning rate that all variants' landscape walks step at; None: no walks.
        own_rate: the learning rate that this network trains at.
    """

    def __init__(
        self,
        network: Network,
        activation: Activation,
        batch: Batch,
        tensors: dict[str, Tensor],
        updates: dict[str, Tensor] | None = None,
        draws: Callable[[int], Noise] = lambda offset: None,
        walk_rate: float | None = None,
        own_rate: float = 1.0,
    ) -> None:
        self.activation = activation
        self.walk_rate = walk_rate
        self.own_rate = own_rate
        self._network = network
        self._batch = batch
        self._tensors = tensors
        self._updates = updates
        self._draws = draws
        paths = {module: path for path, module in network.named_modules()}
        layers = network.weighted_layers().items()
        self._weight_names = {name: f"{paths[layer]}.weight" for name, layer in layers}

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """By layer name and depth (conv1, ..., dense); convolutions [F, C, 3, 3], others [F, D]."""
        return {layer: self._tensors[name].detach() for layer, name in self._weight_names.items()}

    @cached_property
    def updates(self) -> dict[str, Tensor] | None:
        """What the last training step added to the weights of each layer; None before the first."""
        if self._updates is None:
            return None
        return {layer: self._updates[name] for layer, name in self._weight_names.items()}

    @cached_property
    def starts(self) -> dict[str, int]:
        """Where each layer's parameters (its normalization's too) begin in [P], by layer and depth.

        A layer's weight comes first of them.
        """
        layers = {weight: layer for layer, weight in self._weight_names.items()}
        starts, offset = {}, 0
        for name, parameter in self._network.named_parameters():
            if name in layers:
                starts[layers[name]] = offset
            offset += parameter.numel()
        return starts

    @property
    def loss(self) -> Tensor:
        """The batch's mean loss, scalar."""
        return self._here.loss

    @property
    def preactivations(self) -> dict[str, Tensor]:
        """[N, F, H, W], what enters each hidden unit's activation, by layer; of an mlp [N, F, 1, 1]."""
        return self._here.preactivations

    def threshold(self, layer: str) -> Tensor | None:
        """[F], below which a hidden unit's activation gives the same of all inputs; None: it learns none."""
        name = self._weight_names[layer].rsplit(".", 2)[0] + ".activation.threshold"
        return self._tensors.get(name)

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """dL/dW of each layer's weights, of the batch's mean loss."""
        return {layer: self._here.gradients[name] for layer, name in self._weight_names.items()}

    @cached_property
    def effective(self) -> dict[str, tuple[Tensor, Tensor]]:
        """What each layer multiplies by (its weights, or what these become), and dL by it."""
        own = {layer: (weight, self.gradients[layer]) for layer, weight in self.weights.items()}
        return own | self._here.effective

    @cached_property
    def gradient(self) -> Tensor:
        """Of the loss by all parameters, [P]."""
        return _flat(self._here.gradients)

    def loss_and_gradient(self, displacement: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and its gradient [P] with a displacement [P] added to the parameters; a pass."""
        return self._displaced(displacement, self._next_draws)

    @property
    def is_stepped(self) -> bool:
        """Whether there was a training step yet, of which `partly_stepped` takes part back."""
        return self._updates is not None

    def partly_stepped(self, num_layers: int) -> Tensor:
        """The gradient [P] where the first so many layers have taken the last training step; a pass.

        The others have not. Noise is that of the last step throughout: the step alone moves the gradient.
        """
        taken_back = self._update.clone()
        taken_back[: list(self.starts.values())[num_layers]] = 0
        return self._displaced(-taken_back, self._last_draws)[1]

    @cached_property
    def _here(self) -> _Pass:
        return self._run(self._tensors, self._next_draws)

    @cached_property
    def _update(self) -> Tensor:
        assert self._updates is not None
        return _flat({name: self._updates[name] for name, _ in self._network.named_parameters()})

    @cached_property
    def _next_draws(self) -> Noise:
        return self._draws(0)

    @cached_property
    def _last_draws(self) -> Noise:
        return self._draws(-1)

    def _displaced(self, displacement: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        own = {name: self._tensors[name] for name, _ in self._network.named_parameters()}
        flat = torch.nn.utils.parameters_to_vector(own.values()) + displacement
        parts = torch.split(flat, [value.numel() for value in own.values()])
        moved = {name: part.view_as(own[name]) for name, part in zip(own, parts, strict=True)}
        there = self._run(self._tensors | moved, noise)
        return there.loss, _flat(there.gradients)

    def _run(self, tensors: Mapping[str, Tensor], noise: Noise) -> _Pass:
        """One pass over the batch, forward and backward."""
        # Copies: batch normalization in training mode moves its running statistics.
        own = {name: value.detach().clone() for name, value in tensors.items()}
        parameters = {name: own[name].requires_grad_() for name, _ in self._network.named_parameters()}
        preactivations: dict[str, Tensor] = {}
        hooks = [
            unit.activation.register_forward_pre_hook(_keep_input(preactivations, name))
            for name, unit in self._network.hidden().items()
        ]
        effective: dict[str, Tensor] = {}
        hooks += [
            unit.reparametrization.register_forward_hook(_keep_output(effective, name))
            for name, unit in self._network.hidden().items()
            if unit.reparametrization is not None
        ]
        self._network.train()
        try:
            logits = functional_call(self._network, own, (self._batch.images, None, noise))
        finally:
            for hook in hooks:
                hook.remove()
        loss = self._batch.loss(logits, self._batch.labels)
        gradients = torch.autograd.grad(loss, (*parameters.values(), *effective.values()))
        of_effective = gradients[len(parameters) :]
        return _Pass(
            loss.detach(),
            dict(zip(parameters, gradients, strict=False)),  # the effective weights' follow
            preactivations,
            {
                name: (weight.detach(), gradient)
                for (name, weight), gradient in zip(effective.items(), of_effective, strict=True)
            },
        )


def _flat(parts: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts.values()])


def _keep_input(into: dict[str, Tensor], layer: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        into[layer] = inputs[0].detach()

    return hook


def _keep_output(
    into: dict[str, Tensor], layer: str
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        into[layer] = output

    return hook


@dataclass(frozen=True)
class Reading:
    """One number of one layer (`all`: of the whole network), still on the device."""

    probe: str
    layer: str
    value: Tensor


Readings = Iterator[Reading]
