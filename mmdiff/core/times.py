"""Time distributions: where in [0, 1] the loss looks. Each is a quantile function, t = Q(u) with u uniform in (0, 1).

    Uniform         t = u
    LogitNormal     t = sigmoid(mean + std z)                      z = Phi^-1(u)
    LogNormalSigma  log(sigma / alpha) = mean + std z
    Stratified      u <- (i + u) / n for the i-th of n samples of a step, then any of the above
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from .schedules import Schedule


class TimeDistribution(ABC):
    """A distribution of t given by its quantiles, so that training draws it and validation grids it alike."""

    @abstractmethod
    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        """``(...)`` in (0, 1) -> t of the same shape."""

    def draw(self, u: Tensor, schedule: Schedule, *, index: Tensor, count: int) -> Tensor:
        """Times of the samples numbered ``index`` ``(B,)`` among the ``count`` of one optimizer step."""
        return self.quantile(u, schedule)


class UniformTime(TimeDistribution):
    """Uniform in t."""

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        return u


class LogitNormal(TimeDistribution):
    """More weight on middle times (Esser et al. 2024, section 3.1)."""

    def __init__(self, mean: float = 0.0, std: float = 1.0):
        self.mean, self.std = mean, _positive("std", std)

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(u))


class LogNormalSigma(TimeDistribution):
    """Log-normal in sigma / alpha (Karras et al. 2022, table 1), for any schedule.

    The paper's mean -1.2 is for data of standard deviation 0.5; for ours, of 1, that is -1.2 + log 2.
    """

    def __init__(self, mean: float = -0.51, std: float = 1.2):
        self.mean, self.std = mean, _positive("std", std)

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        return schedule.time(-2 * (self.mean + self.std * torch.special.ndtri(u)))


class Stratified(TimeDistribution):
    """One sample in each n-th of another distribution: the loss of a step varies less (Kingma et al. 2021, I.1)."""

    def __init__(self, times: TimeDistribution):
        self.times = times

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        return self.times.quantile(u, schedule)

    def draw(self, u: Tensor, schedule: Schedule, *, index: Tensor, count: int) -> Tensor:
        return self.times.quantile((index.to(u) + u) / count, schedule)


def _positive(name: str, value: float) -> float:
    if value <= 0:
        raise ValueError(f"{name} must be positive, got {value}")
    return value
