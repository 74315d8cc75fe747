"""Time grids: where a sampler calls the network. A grid is a smooth map u in [0, 1] -> t, falling from t(0) = 1.

    Uniform    t = 1 - u, down to the end of the schedule
    Trailing   t = 1 - u, down to 0 even where the schedule ends above sigma = 0
    Karras     r^(1/rho) falls evenly           r = sigma / alpha
    LogSNR     log r falls evenly               (Karras with rho -> infinity)
    Angle      atan(r / scale)^(1/power) falls evenly

Nodes are u = i / n where the map ends at the clean level (sigma = 0). Where it ends above, they are u = i / (n - 1),
and the last step of a sampler, from the last node to the clean level, lies beyond the map. Times are exact, never rounded.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from .schedules import Schedule

SIGMA_MAX = 80.0
"""Where the ramp of a ratio bends when the schedule starts at an infinite one (Linear, Cosine)."""


class Grid(ABC):
    """A smooth, strictly falling map from u to t; float64 on the host."""

    @abstractmethod
    def time(self, u: Tensor, schedule: Schedule) -> Tensor:
        """``u`` in [0, 1] -> t of the same shape."""

    def spacing(self, schedule: Schedule, n: int) -> float:
        """The distance in u of two neighbours of ``n`` nodes."""
        end = schedule.level(self.time(torch.ones((), dtype=torch.float64), schedule))
        return 1 / n if end.sigma == 0 else 1 / max(n - 1, 1)

    def __call__(self, schedule: Schedule, n: int) -> Tensor:
        """``n`` strictly falling times ``(n,)``, the first exactly 1."""
        if n < 1:
            raise ValueError(f"a grid needs at least 1 node, got {n}")
        t = self.time(torch.arange(n, dtype=torch.float64) * self.spacing(schedule, n), schedule)
        t[0] = 1.0
        if (t.diff() >= 0).any() or t[-1] < 0:
            raise ValueError(f"{type(self).__name__} does not give {n} falling times on {type(schedule).__name__}")
        return t


class Uniform(Grid):
    """Uniform in t, to the end of the schedule: 1, 1 - 1/n, ..., 1/n, or 1 ... 0 on ``VarianceExploding``, where it is
    the grid of Karras et al. 2022 (eq. 5)."""

    def time(self, u: Tensor, schedule: Schedule) -> Tensor:
        return 1 - u


class Trailing(Grid):
    """1, 1 - 1/n, ..., 1/n on every schedule (Lin et al. 2024, table 2).

    That is the published ``round(1000 (1 - i / n))`` of discrete steps without the rounding. It differs from ``Uniform``
    only where the schedule ends above sigma = 0: the last step then jumps from t = 1/n to the clean level.
    """

    def time(self, u: Tensor, schedule: Schedule) -> Tensor:
        return 1 - u

    def spacing(self, schedule: Schedule, n: int) -> float:
        return 1 / n


class _Ratio(Grid):
    """Even in a function of r = sigma / alpha, from that of t = 1 to ``sigma_min`` (or the schedule's own end, if higher).

    An infinite r (zero signal at t = 1) is bent in: y = r / (1 + r / 80) takes its place, which is r below that.
    """

    def __init__(self, sigma_min: float):
        if sigma_min <= 0:
            raise ValueError(f"sigma_min must be positive, got {sigma_min}; Uniform and Angle reach 0")
        self.sigma_min = sigma_min

    @abstractmethod
    def between(self, high: float, low: float, u: Tensor) -> Tensor:
        """The ramp: ``high`` at u = 0, ``low`` at u = 1."""

    def time(self, u: Tensor, schedule: Schedule) -> Tensor:
        high, low = (ratio(schedule, t) for t in (1.0, 0.0))
        low, bend = max(low, self.sigma_min), 0.0 if math.isfinite(high) else 1 / SIGMA_MAX
        y = self.between(1 / bend if bend else high, low / (1 + bend * low), u)
        r = torch.where(u == 0, high, y / (1 - bend * y))
        return schedule.time(-2 * r.log())


class Karras(_Ratio):
    """The ramp of Karras et al. 2022 (eq. 5) in sigma / alpha, for any schedule."""

    def __init__(self, rho: float = 7.0, *, sigma_min: float = 0.002):
        super().__init__(sigma_min)
        if rho < 1:
            raise ValueError(f"rho must be at least 1, got {rho}")
        self.rho = rho

    def between(self, high: float, low: float, u: Tensor) -> Tensor:
        a, b = high ** (1 / self.rho), low ** (1 / self.rho)
        return (a + u * (b - a)) ** self.rho


class LogSNR(_Ratio):
    """Uniform in log-SNR (Lu et al. 2022)."""

    def __init__(self, *, sigma_min: float = 0.002):
        super().__init__(sigma_min)

    def between(self, high: float, low: float, u: Tensor) -> Tensor:
        return (math.log(high) + u * (math.log(low) - math.log(high))).exp()


def ratio(schedule: Schedule, t: float) -> float:
    """sigma / alpha at ``t``; infinite where alpha is 0."""
    alpha, sigma = (float(v) for v in schedule.level(torch.tensor(t, dtype=torch.float64)))
    return sigma / alpha if alpha else math.inf
