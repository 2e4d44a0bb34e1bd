"""Normalizations over the batch that torch has not.

Shapes: N images of the batch, C channels, H x W positions.

Like torch's batch normalization, they keep running statistics in buffers: averaged with `momentum` in
training, used in evaluation; a momentum of 1 leaves the last batch's.
"""

from typing import Any

import torch
from torch import Tensor, nn

POSITIONS = (0, 2, 3)  # what a channel's statistics are taken over
_PLAIN_SHARE = 0.05  # of the budget, in which batch renormalization is batch normalization


class RunningNorm(nn.Module):
    """A normalization with a running mean per channel.

    Args:
        num_channels: C.
        momentum: weight of the newest batch in the running statistics.
    """

    running_mean: Tensor

    def __init__(self, num_channels: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))

    def _track(self, weight: float | Tensor, **statistics: Tensor) -> None:
        """Move the running statistics of these names, [C] each, `weight` of the way to the batch's."""
        for name, value in statistics.items():
            running = self.get_buffer(name)
            running.add_((value.detach() - running) * weight)

    def _mean(self, x: Tensor) -> Tensor:
        """[C], the batch's in training, which is tracked; else the running one."""
        if not self.training:
            return self.running_mean
        mean = x.mean(POSITIONS)
        self._track(self.momentum, running_mean=mean)
        return mean


class MeanOnlyBatchNorm(RunningNorm):
    """Mean-only batch normalization (Salimans & Kingma 2016, 1602.07868, section 4): y = x - mean + b."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return x - (self._mean(x) - self.bias)[:, None, None]


class BatchRenorm(RunningNorm):
    """Batch renormalization (Ioffe 2017, 1702.03275, algorithm 1).

        training    y = gamma ((x - mu_B) / sigma_B r + d) + beta
                    r = clip(sigma_B / sigma, 1/r_max, r_max),  d = clip((mu_B - mu) / sigma, -d_max, d_max)
        evaluation  y = gamma (x - mu) / sigma + beta

    mu and sigma are running averages of mu_B and of sigma_B = sqrt(var_B + eps), as they were before the
    step; no gradient flows through r and d. Of unclipped r and d, both lines are the same function: the
    running averages are part of what is trained.

    The paper trains with r_max = 1 and d_max = 0 (batch normalization) for 5,000 steps and relaxes them to
    r_max = 3 at step 40,000 and d_max = 5 at 25,000. Budgets here are other ones, so these steps are shares
    of the budget, 1% of it for 1,000 of the paper's: batch normalization for the first 5%, then linearly to
    their ends at 40% and 25%. (That scale, and that the way is linear, are this suite's choices.)

    The averages have to hold once they are corrected towards. The paper's have 5,000 steps for that, fifty
    times their window of 1/alpha = 100. So here the first batches are averaged evenly, and in budgets under
    2,000 steps the window is no longer than the first 5%: alpha = 20 / num_steps.

    Args:
        num_channels: C.
        eps: added to the batch's variance.
        momentum: alpha of the paper.
        num_steps: the budget.
    """

    running_std: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_channels: int, eps: float, momentum: float, num_steps: int) -> None:
        super().__init__(num_channels, min(1.0, max(momentum, 1 / (_PLAIN_SHARE * num_steps))))
        self.eps = eps
        self.num_steps = num_steps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.register_buffer("running_std", torch.ones(num_channels))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))

    def limits(self) -> tuple[Tensor, Tensor]:
        """r_max and d_max of the next step, scalars."""
        share = self.num_batches_tracked / self.num_steps
        return (
            1.0 + 2.0 * ((share - _PLAIN_SHARE) / (0.40 - _PLAIN_SHARE)).clamp(0.0, 1.0),
            5.0 * ((share - _PLAIN_SHARE) / (0.25 - _PLAIN_SHARE)).clamp(0.0, 1.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        mean, std = self.running_mean, self.running_std
        if self.training:
            mean = x.mean(POSITIONS)
            std = (x.var(POSITIONS, correction=0) + self.eps).sqrt()
        normalized = (x - mean[:, None, None]) / std[:, None, None]
        if self.training:
            r, d = self._corrections(mean.detach(), std.detach())
            normalized = normalized * r[:, None, None] + d[:, None, None]
            weight = (1 / (self.num_batches_tracked + 1)).clamp_min(self.momentum)
            self._track(weight, running_mean=mean, running_std=std)
            self.num_batches_tracked.add_(1)
        return normalized * self.weight[:, None, None] + self.bias[:, None, None]

    def _corrections(self, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """R and d, [C] each, from the batch's mean and standard deviation."""
        r_max, d_max = self.limits()
        r = torch.clamp(std / self.running_std, 1.0 / r_max, r_max)
        d = torch.clamp((mean - self.running_mean) / self.running_std, -d_max, d_max)
        return r, d


class BatchNorm2d(nn.BatchNorm2d):
    """Torch's, which can be told to take its channels by whole vectors.

    Its kernel for maps that lie position by position rounds what is left over otherwise. Batches are not
    counted, as nothing reads the count where there is a momentum.

    Args:
        num_channels: C.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics.
        affine: whether there are scale and shift.

    Attributes:
        vector: channels are filled up to a multiple of this.
    """

    vector = 1
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_channels: int, eps: float, momentum: float, *, affine: bool = True) -> None:
        super().__init__(num_channels, eps, momentum, affine)

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        out = self._by_vectors(input)
        if self.vector > 1 and out.requires_grad:
            # A flattened map's gradient comes row by row; another kernel would take it, and round otherwise.
            out.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
        return out

    def _by_vectors(self, input: Tensor) -> Tensor:
        if self.momentum is None:  # an average over all batches, which are to be counted then
            return super().forward(input)
        channels = input.shape[1]
        missing = -channels % self.vector
        mean, var, scale, shift = self.running_mean, self.running_var, self.weight, self.bias
        if missing:
            # Filled up and cut off where channels come last, so that maps go on to lie position by position.
            input = nn.functional.pad(input.movedim(1, -1), (0, missing)).movedim(-1, 1)
            mean, var = _filled_up(mean, missing), _filled_up(var, missing)
            scale, shift = _filled_up(scale, missing), _filled_up(shift, missing)
        out = nn.functional.batch_norm(input, mean, var, scale, shift, self.training, self.momentum, self.eps)
        if not missing:
            return out
        if self.training:
            self.running_mean.copy_(mean[:channels])
            self.running_var.copy_(var[:channels])
        return out.movedim(1, -1)[..., :channels].movedim(-1, 1)


def _filled_up(own: Any, missing: int) -> Any:
    """A channel's own numbers, of which there may be none, with zeros for the channels that are missing."""
    return None if own is None else nn.functional.pad(own, (0, missing))


class Noise(nn.Module):
    """The noise of Santurkar et al. (1805.11604, appendix A, algorithm 1), on maps as they are.

    Each channel's noise has a mean mu ~ U(-0.5, 0.5) and a scale sigma ~ U(1, 1.25), drawn anew at each step;
    each activation of each example then draws its own m ~ U(mu - 0.1, mu + 0.1) and s ~ N(sigma, 0.1), and
    y = s x + m. So the distribution of every layer's output shifts at every step. The constants are the
    paper's (n_mu = 0.5, n_sigma = 1.25, r_mu = r_sigma = 0.1), and so is that a convolution's positions count
    as examples: a channel has one mu and sigma over its map. The scale is 1.125 on average; evaluation,
    without noise, takes 1.
    """

    def forward(self, input: Tensor, uniforms: Tensor | None = None) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]; see `with_noise`."""
        return with_noise(input, uniforms)


class NoisyBatchNorm2d(BatchNorm2d):
    """Batch normalization, and the noise of `Noise` on what it gives."""

    def forward(self, input: Tensor, uniforms: Tensor | None = None) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]; see `with_noise`."""
        return with_noise(super().forward(input), uniforms)


_NOISE_MEAN, _NOISE_SCALE, _NOISE_SPREAD = 0.5, 1.25, 0.1  # n_mu, n_sigma, r_mu = r_sigma of the paper


def with_noise(x: Tensor, uniforms: Tensor | None) -> Tensor:
    """Activations with one step's noise (see `Noise`).

    Args:
        x: [N, C, H, W].
        uniforms: [2 + 2 N, C, H, W] in [0, 1): of the channels' mu and sigma, of which the first position's
            count alone, then of each activation's m, then of each one's s. None (in evaluation and
            re-estimation): no noise.

    Returns:
        [N, C, H, W].
    """
    if uniforms is None:
        return x
    n = len(x)
    of_channels = uniforms[:2, :, :1, :1]
    mean = _NOISE_MEAN * (2 * of_channels[0] - 1)
    scale = 1 + (_NOISE_SCALE - 1) * of_channels[1]
    shift = mean + _NOISE_SPREAD * (2 * uniforms[2 : 2 + n] - 1)
    # The draws lie on a grid of 2^-24: at its end, 0, the normal's quantile would be infinite.
    factor = scale + _NOISE_SPREAD * torch.special.ndtri(uniforms[2 + n :].clamp_min(2.0**-25))
    noisy: Tensor = factor * x + shift
    return noisy
