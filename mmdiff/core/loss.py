"""The one training loss.

    x_t = alpha(t) x0 + sigma(t) eps,      loss_b = mean over real positions of  w_out |output - target|^2

One value a sample: a long and a short clip count alike, and the mean over a batch does not depend on how samples are
grouped into batches or spread over ranks.
"""

import torch
from torch import Tensor

from .denoiser import Denoiser
from .times import TimeDistribution, UniformTime
from .types import Condition, Masked, expand
from .weightings import UniformWeight as UniformWeight
from .weightings import Weighting


class DiffusionLoss:
    """Denoising loss with a distribution of times and a weighting (defaults: both uniform)."""

    def __init__(self, time: TimeDistribution | None = None, weight: Weighting | None = None):
        self.time, self.weight = time or UniformTime(), weight or UniformWeight()

    def __call__(
        self, denoiser: Denoiser, x0: Masked, *, eps: Tensor, t: Tensor, cond: Condition | None = None
    ) -> Tensor:
        """Loss per sample ``(B,)`` at given noise ``eps`` ``(B, C, *S)`` and times ``t`` ``(B,)`` or ``(B, T)``.

        Where ``t`` is 0 (a given, clean frame), or nothing is noise, there is no loss.
        """
        real = x0.mask
        x, eps = (x0.x, eps) if real is None else (torch.where(real, x0.x, 0), torch.where(real, eps, 0))
        level, slope = denoiser.levels(t, x)
        x_t = (level.alpha * x + level.sigma * eps).to(x.dtype)
        target = denoiser.parameterization.target(x, eps, level, slope)
        output = denoiser.output(x_t, t, cond, real)
        weight = self.weight.output(denoiser.parameterization, level, slope)
        noisy = expand(t > 0, x) if t.ndim == 2 else level.sigma > 0
        counts = noisy if real is None else real & noisy              # of each position, or of several at once
        weight, error = (torch.where(counts, v, 0) for v in (weight, output - target))     # before they are multiplied:
        error = weight * error**2                                     # what does not count has no gradient, not NaN
        each = x[0].numel() // counts[0].numel()
        return error.flatten(1).sum(1) / (each * counts.flatten(1).sum(1)).clamp(min=1)
