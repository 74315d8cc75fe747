"""Percentile bootstrap: how far a statistic would move with other samples of the same source.

    theta_b = statistic(n rows drawn with replacement),   interval = quantiles of theta_1 .. theta_B     (Efron 1979)

It suits means, medians and shares. It does not suit distances between sets: a repeated row looks like a narrower
distribution, so Fréchet and kernel distances of the draws lie above the one they should surround.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Interval(NamedTuple):
    """A statistic with the ends of its interval."""

    value: float
    low: float
    high: float


def median(x: Tensor) -> Tensor:
    """Of an even number of values the mean of the two in the middle, where torch's takes the lower."""
    return x.quantile(0.5)


def bootstrap(
    samples: Tensor, statistic: Callable[[Tensor], Tensor] = torch.mean, *, confidence: float = 0.95,
    resamples: int = 2000, seed: int = 0,
) -> Interval:
    """``statistic`` of ``samples`` ``(N, ...)`` with its interval; rows are drawn independently, with a fixed seed.

    Rows that belong together (clips of one speaker) must be averaged first, else the interval is too narrow.
    """
    if len(samples) < 2:
        raise ValueError(f"resampling needs 2 samples at least, got {len(samples)}")
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(f"need 0 < confidence < 1 and resamples >= 1, got {confidence} and {resamples}")
    samples = samples.double()
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(samples), (resamples, len(samples)), generator=generator).to(samples.device)
    values = torch.stack([statistic(samples[row]) for row in rows])
    tail = (1 - confidence) / 2
    return Interval(float(statistic(samples)), float(values.quantile(tail)), float(values.quantile(1 - tail)))
