"""Features whitened, and what is generated kept where the features of the training set are.

    latent  = (feature - mean) / std                                   over every real position of the training set:
    limited = min(max(latent, (low - mean) / std), (high - mean) / std)    mean, low and high a channel, std a group

One std for all channels keeps their strengths against each other (colours, bands of a spectrum); quantities in
different units have a group each. No mean of training samples lies beyond ``low`` or ``high``, and a mean of them is
what a network is trained to predict, so nothing is lost by the limit; features that are logarithms need it most.
"""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..core.types import Masked
from .base import Codec


class WhitenedCodec(Codec):
    """Features ``(B, channels, *S)`` <-> latents of the same shape; without ``features``, samples are features.

    ``groups`` are the names and sizes of neighbouring channels that share a std; left out, all do. Decoded values are
    limited to ``bounds``.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self, channels: int, *, groups: Mapping[str, int] | None = None,
        bounds: tuple[float, float] = (-math.inf, math.inf),
    ):
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        self.channels, self.bounds = channels, bounds
        self.groups = dict(groups or {"samples": channels})
        if sum(self.groups.values()) != channels:
            raise ValueError(f"groups divide the {channels} channels, got {self.groups}")
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.register_buffer("low", torch.full((channels,), -math.inf))
        self.register_buffer("high", torch.full((channels,), math.inf))

    def whiten(self, features: Masked) -> Masked:
        x = features.x.float()
        return Masked((x - _like(self.mean, x)) / _like(self.std, x), features.mask).zeroed

    def unwhiten(self, latents: Masked) -> Masked:
        x = latents.x.float()
        return Masked(x * _like(self.std, x) + _like(self.mean, x), latents.mask).zeroed

    def decode(self, latents: Masked) -> Masked:
        features = self.unwhiten(latents)
        return Masked(features.x.clamp(*self.bounds), features.mask).zeroed

    def limited(self, latents: Tensor) -> Tensor:
        low, high = (_like((value - self.mean) / self.std, latents) for value in (self.low, self.high))
        return torch.clamp(latents, low.to(latents), high.to(latents))

    @torch.no_grad()
    def measure(self, features: Iterable[Masked]) -> None:
        """Measure mean, std and range. Raises ``ValueError`` where there is nothing to measure, or all is alike."""
        count, first, second = 0, *torch.zeros(2, self.channels, dtype=torch.float64)
        low, high = torch.full((self.channels,), math.inf), torch.full((self.channels,), -math.inf)
        for batch in features:
            x = batch.x.double().cpu().transpose(0, 1).flatten(1)                 # (C, B *S)
            if batch.mask is not None:
                x = x[:, batch.mask.cpu().flatten()]
            if x.shape[1]:
                count += x.shape[1]
                first += x.sum(1)
                second += x.square().sum(1)
                low, high = torch.minimum(low, x.amin(1).float()), torch.maximum(high, x.amax(1).float())
        mean, square = first / max(count, 1), second / max(count, 1)
        sizes = list(self.groups.values())
        variances, squares = (v.split(sizes) for v in (square - mean.square(), square))
        for name, variance, total in zip(self.groups, variances, squares, strict=True):
            if len(variance) and variance.mean() <= 1e-12 * total.mean():         # of any unit: rounding is relative
                raise ValueError(f"whitening needs variety: the {name} of the training set are none, or all alike")
        self.mean.copy_(mean)
        self.std.copy_(torch.cat([v.mean().sqrt().expand(len(v)) for v in variances]))
        self.low.copy_(low)
        self.high.copy_(high)


def _like(value: Tensor, x: Tensor) -> Tensor:
    """One number a channel, to broadcast against ``(B, C, *S)``."""
    return value.reshape(-1, *(1,) * (x.ndim - 2))
