"""Time grids: where a sampler calls the network.

A grid is a smooth map u in [0, 1] -> t, and r = sigma / alpha, that falls from t(0) = 1. What falls evenly:

    Uniform    t, down to the end of the schedule
    Trailing   t, down to 0 even where the schedule ends above sigma = 0
    Karras     r^(1/rho), down to sigma_min
    LogSNR     log r, down to sigma_min (Karras with rho -> infinity)
    Power      (r / (r + scale))^(1/power), down to sigma = 0

Nodes are u = i / n where the map ends at the clean level (sigma = 0). Where it ends above, u = i / (n - 1), and a
sampler's last step, from the last node to the clean level, lies beyond the map. Times are exact, never rounded.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from .schedules import Schedule

SIGMA_MAX = 160.0
"""Where ``KarrasGrid`` and ``LogSNR`` bend when a schedule starts without signal (Linear, Cosine)."""


class Grid(ABC):
    """A smooth map from u to time, on the host in float64; ``n`` is the number of nodes it will be used for."""

    @abstractmethod
    def time(self, u: Tensor, schedule: Schedule, n: int) -> Tensor:
        """t of the shape of ``u``; 0 below the end of the schedule."""

    @abstractmethod
    def ratio(self, u: Tensor, schedule: Schedule, n: int) -> Tensor:
        """sigma / alpha of the shape of ``u``, also below the end of the schedule; infinite where alpha is 0."""

    def clean(self, schedule: Schedule, n: int) -> bool:
        """Whether the map ends at sigma = 0."""
        return float(self.ratio(torch.ones((), dtype=torch.float64), schedule, n)) == 0

    def nodes(self, schedule: Schedule, n: int) -> Tensor:
        """u of the ``n`` nodes."""
        return torch.arange(n, dtype=torch.float64) / (n if self.clean(schedule, n) else max(n - 1, 1))

    def __call__(self, schedule: Schedule, n: int) -> Tensor:
        """``n`` strictly falling times ``(n,)``, the first exactly 1."""
        if n < 1:
            raise ValueError(f"a grid needs at least 1 node, got {n}")
        t = self.time(self.nodes(schedule, n), schedule, n)
        t[0] = 1.0
        if (t.diff() >= 0).any() or t[-1] < 0:
            raise ValueError(
                f"{type(self).__name__} gives {type(schedule).__name__} {n} times that do not all fall: "
                "take fewer steps, or another grid"
            )
        return t


class _InTime(Grid):
    def ratio(self, u: Tensor, schedule: Schedule, n: int) -> Tensor:
        alpha, sigma = schedule.level(self.time(u, schedule, n))
        return sigma / alpha


class _InRatio(Grid):
    def time(self, u: Tensor, schedule: Schedule, n: int) -> Tensor:
        return schedule.time(-2 * self.ratio(u, schedule, n).log())


class UniformGrid(_InTime):
    """1, 1 - 1/n, ..., 1/n; on ``VarianceExploding`` 1 ... 0, which is the grid of Karras et al. 2022 (eq. 5)."""

    def time(self, u: Tensor, schedule: Schedule, n: int) -> Tensor:
        return 1 - u


class Trailing(_InTime):
    """1, 1 - 1/n, ..., 1/n on every schedule (Lin et al. 2024, table 2).

    That is the published ``round(1000 (1 - i / n))`` of discrete steps without the rounding. It differs from
    ``UniformGrid`` only where the schedule ends above sigma = 0: the last step then jumps from t = 1/n to clean.
    """

    def time(self, u: Tensor, schedule: Schedule, n: int) -> Tensor:
        return 1 - u

    def nodes(self, schedule: Schedule, n: int) -> Tensor:
        return torch.arange(n, dtype=torch.float64) / n


class _Ramp(_InRatio):
    """From r at t = 1 to ``sigma_min`` (or to the schedule's own end, if that is higher).

    Where a schedule starts at an infinite r, y = r / (1 + r / 80) takes its place: 80 there, and r where r is small.
    """

    def __init__(self, sigma_min: float):
        if sigma_min <= 0:
            raise ValueError(f"sigma_min must be positive, got {sigma_min}; Power and Uniform end at 0 itself")
        self.sigma_min = sigma_min

    @abstractmethod
    def between(self, high: float, low: float, u: Tensor) -> Tensor:
        """The ramp: ``high`` at u = 0, ``low`` at u = 1."""

    def ratio(self, u: Tensor, schedule: Schedule, n: int) -> Tensor:
        high, low = ends(schedule)
        bend = 0.0 if math.isfinite(high) else 1 / SIGMA_MAX
        low = max(low, self.sigma_min)
        y = self.between(min(high, SIGMA_MAX) if bend else high, low / (1 + bend * low), u)
        return torch.where(u == 0, high, y / (1 - bend * y))


class KarrasGrid(_Ramp):
    """The ramp of Karras et al. 2022 (eq. 5) in sigma / alpha, for any schedule."""

    def __init__(self, rho: float = 7.0, *, sigma_min: float = 0.004):
        super().__init__(sigma_min)
        if rho < 1:
            raise ValueError(f"rho must be at least 1, got {rho}")
        self.rho = rho

    def between(self, high: float, low: float, u: Tensor) -> Tensor:
        a, b = high ** (1 / self.rho), low ** (1 / self.rho)
        return (a + u * (b - a)) ** self.rho


class LogSNR(_Ramp):
    """Uniform in log-SNR (Lu et al. 2022)."""

    def __init__(self, *, sigma_min: float = 0.004):
        super().__init__(sigma_min)

    def between(self, high: float, low: float, u: Tensor) -> Tensor:
        return (math.log(high) + u * (math.log(low) - math.log(high))).exp()


class Power(_InRatio):
    """Even in (r / (r + scale))^(1/power): with both at 1, flow matching's uniform grid carried to every schedule.

    ``power`` above 1 spends more nodes on low noise; with ``power`` 1, half of them lie above the ratio ``scale``. The
    grid ends at sigma = 0, unless a schedule ends above and some node would lie below: then it ends with the schedule.
    """

    def __init__(self, power: float = 1.5, *, scale: float = 1.0):
        if power < 1 or scale <= 0:
            raise ValueError(f"need power >= 1 and scale > 0, got {power} and {scale}")
        self.power, self.scale = power, scale

    def ratio(self, u: Tensor, schedule: Schedule, n: int) -> Tensor:
        high, low = (
            (1.0 if math.isinf(r) else r / (r + self.scale)) ** (1 / self.power) for r in ends(schedule)
        )
        if high / n >= low:                                           # the last of n nodes lies above the end
            low = 0.0
        y = (high + u * (low - high)) ** self.power
        return torch.where(u == 0, ends(schedule)[0], self.scale * y / (1 - y))


def ends(schedule: Schedule) -> tuple[float, float]:
    """sigma / alpha at t = 1 (infinite where alpha is 0) and at t = 0."""
    alpha, sigma = schedule.level(torch.tensor([1.0, 0.0], dtype=torch.float64))
    high, low = (sigma / alpha).tolist()
    return high, low
