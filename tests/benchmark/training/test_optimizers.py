"""The update rules against torch.optim; Keras' RMSprop is in test_keras_parity."""

import pytest
import torch

from benchmark.training.optimizers import OPTIMIZERS, Adam, AdamW, RmsProp, Sgd

NUM_PARAMETERS = 50
LR = 0.03125  # a power of two: the same in float32 and float64


def ours(rule, gradients, lr):
    """The parameters after each step of our rule; in float64, so that only the formula can differ."""
    parameters = torch.linspace(-1, 1, NUM_PARAMETERS, dtype=torch.float64)
    moments = rule.moments(parameters)
    for step, gradient in enumerate(gradients):
        rule.update_(parameters, gradient.clone(), moments, torch.tensor(lr).double(), torch.tensor(step))
        yield parameters.clone()


def torchs(build, gradients):
    parameters = torch.nn.Parameter(torch.linspace(-1, 1, NUM_PARAMETERS, dtype=torch.float64))
    optimizer = build([parameters])
    for gradient in gradients:
        parameters.grad = gradient.clone()
        optimizer.step()
        yield parameters.detach().clone()


CASES = {
    "sgd": (Sgd(), lambda p: torch.optim.SGD(p, lr=LR, momentum=0.9)),
    "sgd, no momentum": (Sgd(momentum=0.0), lambda p: torch.optim.SGD(p, lr=LR)),
    "sgd, decay": (
        Sgd(weight_decay=0.3),
        lambda p: torch.optim.SGD(p, lr=LR, momentum=0.9, weight_decay=0.3),
    ),
    "rmsprop": (RmsProp(), lambda p: torch.optim.RMSprop(p, lr=LR, alpha=0.9, eps=1e-7)),
    "rmsprop, rho": (RmsProp(rho=0.5), lambda p: torch.optim.RMSprop(p, lr=LR, alpha=0.5, eps=1e-7)),
    "adam": (Adam(), lambda p: torch.optim.Adam(p, lr=LR)),
    "adam, betas": (
        Adam(beta1=0.8, beta2=0.95, epsilon=1e-3),
        lambda p: torch.optim.Adam(p, lr=LR, betas=(0.8, 0.95), eps=1e-3),
    ),
    "adamw": (AdamW(), lambda p: torch.optim.AdamW(p, lr=LR, weight_decay=0.01)),
    "adamw, decay": (AdamW(weight_decay=0.3), lambda p: torch.optim.AdamW(p, lr=LR, weight_decay=0.3)),
}


@pytest.mark.parametrize("scale", [1.0, 1e-6])  # 1e-6: gradients about as small as epsilon
@pytest.mark.parametrize("case", CASES)
def test_steps_are_torchs(case, scale):
    rule, build = CASES[case]
    generator = torch.Generator().manual_seed(0)
    gradients = [
        scale * torch.randn(NUM_PARAMETERS, dtype=torch.float64, generator=generator) for _ in range(10)
    ]
    for found, expected in zip(ours(rule, gradients, LR), torchs(build, gradients), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_every_rule_is_compared_with_torchs():
    assert {rule.name for rule, _ in CASES.values()} == set(OPTIMIZERS)


def test_where_epsilon_stands_changes_tiny_gradients_steps_a_thousandfold():
    tiny = [torch.full((NUM_PARAMETERS,), 1e-9, dtype=torch.float64)]
    start = torch.linspace(-1, 1, NUM_PARAMETERS, dtype=torch.float64)
    (inside,) = ours(RmsProp(epsilon_inside=True), tiny, 1e3)
    (outside,) = ours(RmsProp(epsilon_inside=False), tiny, 1e3)
    ratio = (outside - start) / (inside - start)
    # sqrt(v + eps) = sqrt(1e-19 + 1e-7) against sqrt(v) + eps = sqrt(1e-19) + 1e-7
    expected = (1e-19 + 1e-7) ** 0.5 / (1e-19**0.5 + 1e-7)
    torch.testing.assert_close(ratio, torch.full_like(ratio, expected), rtol=0.01, atol=0)


def test_state_is_the_rules_own():
    parameters = torch.ones(3)
    assert {name: set(rule().moments(parameters)) for name, rule in OPTIMIZERS.items()} == {
        "sgd": {"momentum"},
        "rmsprop": {"square"},
        "adam": {"mean", "square"},
        "adamw": {"mean", "square"},
    }
