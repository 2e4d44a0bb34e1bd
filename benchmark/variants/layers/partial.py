"""Parts of batch normalization: one of its moments alone, or its statistics over few examples.

Shapes: N images of the batch, C channels, H x W positions. Scale and shift are per channel in all of them, as
in batch normalization, so that nothing else differs from it.
"""

import torch
from torch import Tensor, nn

from benchmark.variants.layers.batchwise import POSITIONS, RunningNorm


class _Scaled(RunningNorm):
    """With a scale beside the shift."""

    def __init__(self, num_channels: int, momentum: float) -> None:
        super().__init__(num_channels, momentum)
        self.weight = nn.Parameter(torch.ones(num_channels))

    def _affine(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class BatchCentring(_Scaled):
    """Batch normalization without its division: y = gamma (x - mean) + beta."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return self._affine(x - self._mean(x)[:, None, None])


class BatchScaling(_Scaled):
    """Batch normalization without its centring: y = gamma x / sqrt(var + eps) + beta.

    The variance is about the mean, as in batch normalization: of inputs of mean 0 both are the same.

    Args:
        num_channels: C.
        eps: added to the variance.
        momentum: weight of the newest batch in the running variance, which is the unbiased one.
    """

    running_var: Tensor

    def __init__(self, num_channels: int, eps: float, momentum: float) -> None:
        super().__init__(num_channels, momentum)
        self.eps = eps
        del self.running_mean
        self.register_buffer("running_var", torch.ones(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        variance = self.running_var
        if self.training:
            variance = x.var(POSITIONS, correction=0)
            num_values = x.numel() // x.shape[1]
            self._track(self.momentum, running_var=variance * (num_values / (num_values - 1)))
        return self._affine(x / (variance + self.eps).sqrt()[:, None, None])


class GhostBatchNorm(_Scaled):
    """Ghost batch normalization (Hoffer et al. 2017, 1705.08741, algorithm 1): statistics of k examples each.

    A batch is cut into N / k groups, each normalized by its own statistics; example i is of group i mod
    (N / k), batches being drawn at random. A batch that k does not divide is one group (studies refuse such
    batch sizes, but splits of images can be smaller).

    Running statistics are averages of the groups' means and of their unbiased variances, which is what the
    authors' one update per group comes to but for its weights within a batch. So re-estimated ones are those
    of algorithm 2 of Ioffe & Szegedy (1502.03167), the groups being the batches that it averages over.

    Args:
        num_channels: C.
        eps: added to a group's variance.
        momentum: weight of the newest batch in the running statistics.
        num_examples: k.
    """

    running_var: Tensor

    def __init__(self, num_channels: int, eps: float, momentum: float, num_examples: int) -> None:
        super().__init__(num_channels, momentum)
        self.eps = eps
        self.num_examples = num_examples
        self.register_buffer("running_var", torch.ones(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        if not self.training:
            mean, variance = self.running_mean, self.running_var
            return self._affine(nn.functional.batch_norm(x, mean, variance, eps=self.eps))
        num, channels, *positions = x.shape
        num_groups = num // self.num_examples if num % self.num_examples == 0 else 1
        # Groups side by side, as further channels of one batch normalization.
        side_by_side = x.reshape(num // num_groups, num_groups * channels, *positions)
        mean, variance = x.new_zeros(2, num_groups * channels).detach().unbind()
        out = nn.functional.batch_norm(
            side_by_side, mean, variance, training=True, momentum=1.0, eps=self.eps
        )
        own = {"running_mean": mean, "running_var": variance}
        self._track(self.momentum, **{name: v.view(num_groups, -1).mean(0) for name, v in own.items()})
        return self._affine(out.reshape(x.shape))
