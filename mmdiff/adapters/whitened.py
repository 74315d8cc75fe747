"""Samples whitened and nothing more: what a codec is where data are small enough to be modelled as they are.

    latent = (x - mean) / std,      a mean a channel, over every real position of the training set

One std for all channels keeps their strengths against each other (colours); ``each`` gives every channel its own, for
quantities in different units.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ..core.types import Masked
from .base import Codec


class WhitenedCodec(Codec):
    """Samples ``(B, channels, *S)`` <-> latents of the same shape; decoded values are limited to ``bounds``."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, *, each: bool = False, bounds: tuple[float, float] = (-math.inf, math.inf)):
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        self.channels, self.bounds = channels, bounds
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels) if each else torch.tensor(1.0))

    def whiten(self, features: Masked) -> Masked:
        x = (features.x - _like(self.mean, features.x)) / _like(self.std, features.x)
        return Masked(x if features.mask is None else torch.where(features.mask, x, 0), features.mask)

    def decode(self, latents: Masked) -> Masked:
        x = (latents.x.float() * _like(self.std, latents.x) + _like(self.mean, latents.x)).clamp(*self.bounds)
        return Masked(x if latents.mask is None else torch.where(latents.mask, x, 0), latents.mask)

    @torch.no_grad()
    def measure(self, features: Iterable[Masked]) -> None:
        """Measure mean and std. Raises ``ValueError`` where there is nothing to measure, or all values are alike."""
        count, first, second = 0, *torch.zeros(2, self.channels, dtype=torch.float64)
        for batch in features:
            mask = torch.ones_like(batch.x[:, :1], dtype=torch.bool) if batch.mask is None else batch.mask
            x = torch.where(mask, batch.x, 0).double().cpu().transpose(0, 1).flatten(1)
            count += int(mask.sum())
            first += x.sum(1)
            second += x.square().sum(1)
        mean = first / max(count, 1)
        variance = second / max(count, 1) - mean.square()
        variance, square = (v.mean() if self.std.ndim == 0 else v for v in (variance, second / max(count, 1)))
        if (variance <= 1e-12 * square).any():                        # of whatever unit: rounding is relative
            raise ValueError("whitening needs variety: the training set holds nothing, or a channel that never varies")
        self.mean.copy_(mean)
        self.std.copy_(variance.sqrt())


def _like(value: Tensor, x: Tensor) -> Tensor:
    """A number, or one a channel, to broadcast against ``(B, C, *S)``."""
    return value if value.ndim == 0 else value.reshape(-1, *(1,) * (x.ndim - 2))
