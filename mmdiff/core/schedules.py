"""Noise schedules: t -> (alpha, sigma), with 0 = data and 1 = noise.

    VariancePreserving  log alpha = -t^2 (b1 - b0) / 4 - t b0 / 2,   sigma^2 = 1 - alpha^2
    Cosine              alpha = cos(pi t / 2),                       sigma = sin(pi t / 2)
    VarianceExploding   alpha = 1,    sigma = (smin^(1/rho) + t (smax^(1/rho) - smin^(1/rho)))^rho
    Linear              alpha = 1 - t,                               sigma = t
    Shifted             sigma / alpha multiplied by a constant: log_snr - 2 log(shift)
    Until               another one up to where sigma / alpha is a constant

    log_snr = 2 log(alpha / sigma)
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from .types import Level


class Schedule(ABC):
    """A noise schedule. Arithmetic keeps the dtype of ``t``; call it in float32 or float64."""

    @abstractmethod
    def level(self, t: Tensor) -> Level:
        """Amplitudes at ``t``, each of the shape of ``t``."""

    @abstractmethod
    def slope(self, t: Tensor) -> Level:
        """Derivatives of both amplitudes in ``t``: large, but finite, where the true ones are infinite."""

    @abstractmethod
    def time(self, log_snr: Tensor) -> Tensor:
        """The inverse of ``log_snr``; beyond the ends of the schedule it is clamped to [0, 1]."""

    @abstractmethod
    def norm(self, level: Level, slope: Level) -> tuple[Tensor, Tensor]:
        """The homogeneous norm that is 1 on the whole schedule, and its derivative along ``slope``."""

    def log_snr(self, t: Tensor) -> Tensor:
        """``2 log(alpha / sigma)``: +inf where sigma is 0, -inf where alpha is 0."""
        alpha, sigma = self.level(t)
        return 2 * (alpha.log() - sigma.log())


def agree(one: Schedule, other: Schedule) -> bool:
    """Whether both mean the same by a time, so that (x_t, t) of one is that of the other."""
    t = torch.linspace(0, 1, 17, dtype=torch.float64)
    return all(torch.allclose(a, b) for a, b in zip(one.level(t), other.level(t), strict=True))


class Spherical(Schedule):
    """alpha^2 + sigma^2 = 1."""

    def norm(self, level: Level, slope: Level) -> tuple[Tensor, Tensor]:
        n = torch.hypot(level.alpha, level.sigma)
        return n, (level.alpha * slope.alpha + level.sigma * slope.sigma) / n


class VariancePreserving(Spherical):
    """The DDPM schedule in continuous time (Ho et al. 2020; Song et al. 2021, eq. 33).

    ``beta_min`` and ``beta_max`` are rates per unit of t: 0.1 and 20 are the 1e-4 and 0.02 of 1000 DDPM steps.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0):
        if not 0 < beta_min < beta_max:
            raise ValueError(f"need 0 < beta_min < beta_max, got {beta_min} and {beta_max}")
        self.beta_min, self.beta_max = beta_min, beta_max

    def _log_alpha(self, t: Tensor) -> Tensor:
        return -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def level(self, t: Tensor) -> Level:
        log_alpha = self._log_alpha(t)
        return Level(log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt())

    def slope(self, t: Tensor) -> Level:
        alpha, sigma = self.level(t)
        sigma = sigma.clamp(min=torch.finfo(sigma.dtype).eps)         # at t = 0 the slope is infinite: large instead
        rate = -0.5 * (t * (self.beta_max - self.beta_min) + self.beta_min)     # d log alpha / dt
        return Level(alpha * rate, -(alpha**2) * rate / sigma)

    def time(self, log_snr: Tensor) -> Tensor:
        minus_2_log_alpha = torch.nn.functional.softplus(-log_snr)
        spread = self.beta_max - self.beta_min
        root = (self.beta_min**2 + 2 * spread * minus_2_log_alpha).sqrt()
        return (2 * minus_2_log_alpha / (root + self.beta_min)).clamp(0, 1)


class Cosine(Spherical):
    """The cosine schedule without offset (Nichol & Dhariwal 2021; Hoogeboom et al. 2023): zero SNR at t = 1."""

    def level(self, t: Tensor) -> Level:
        return Level((math.pi / 2 * (1 - t)).sin(), (math.pi / 2 * t).sin())

    def slope(self, t: Tensor) -> Level:
        alpha, sigma = self.level(t)
        return Level(-math.pi / 2 * sigma, math.pi / 2 * alpha)

    def time(self, log_snr: Tensor) -> Tensor:
        return 2 / math.pi * torch.atan(torch.exp(-log_snr / 2))


class VarianceExploding(Schedule):
    """The schedule of Karras et al. 2022 (EDM), eq. 5; sigma is in units of the data's standard deviation.

    The paper's 0.002 to 80 are for data of standard deviation 0.5; ours have 1, so the same noise is twice as much.
    """

    def __init__(self, sigma_min: float = 0.004, sigma_max: float = 160.0, rho: float = 7.0):
        if not 0 < sigma_min < sigma_max:
            raise ValueError(f"need 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")
        if rho < 1:
            raise ValueError(f"rho must be at least 1, got {rho}")
        self.sigma_min, self.sigma_max, self.rho = sigma_min, sigma_max, rho

    @property
    def _ends(self) -> tuple[float, float]:
        return self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)

    def level(self, t: Tensor) -> Level:
        low, high = self._ends
        return Level(torch.ones_like(t), (low + t * (high - low)) ** self.rho)

    def slope(self, t: Tensor) -> Level:
        low, high = self._ends
        return Level(torch.zeros_like(t), self.rho * (high - low) * (low + t * (high - low)) ** (self.rho - 1))

    def time(self, log_snr: Tensor) -> Tensor:
        low, high = self._ends
        return ((torch.exp(-log_snr / (2 * self.rho)) - low) / (high - low)).clamp(0, 1)

    def norm(self, level: Level, slope: Level) -> tuple[Tensor, Tensor]:
        return level.alpha, slope.alpha


class Linear(Schedule):
    """The straight path of flow matching (Lipman et al. 2023; Liu et al. 2023): zero SNR at t = 1."""

    def level(self, t: Tensor) -> Level:
        return Level(1 - t, t.clone())

    def slope(self, t: Tensor) -> Level:
        return Level(-torch.ones_like(t), torch.ones_like(t))

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr / 2)

    def norm(self, level: Level, slope: Level) -> tuple[Tensor, Tensor]:
        return level.alpha + level.sigma, slope.alpha + slope.sigma


class Shifted(Schedule):
    """Any schedule with sigma / alpha multiplied by ``shift`` (Hoogeboom et al. 2023; Esser et al. 2024, eq. 23).

    More than 1 spends more of [0, 1] on high noise, for large or redundant latents; on ``Linear`` it is
    ``t' = shift t / (1 + (shift - 1) t)``.
    """

    def __init__(self, schedule: Schedule, shift: float):
        if shift <= 0:
            raise ValueError(f"shift must be positive, got {shift}")
        self.schedule, self.shift = schedule, shift

    def level(self, t: Tensor) -> Level:
        return self._parts(t)[0]

    def slope(self, t: Tensor) -> Level:
        level, raw_slope, n, dn = self._parts(t)
        return Level((raw_slope.alpha - level.alpha * dn) / n, (raw_slope.sigma - level.sigma * dn) / n)

    def _parts(self, t: Tensor) -> tuple[Level, Level, Tensor, Tensor]:
        (alpha, sigma), slope = self.schedule.level(t), self.schedule.slope(t)
        raw, raw_slope = Level(alpha, self.shift * sigma), Level(slope.alpha, self.shift * slope.sigma)
        n, dn = self.schedule.norm(raw, raw_slope)
        return Level(raw.alpha / n, raw.sigma / n), raw_slope, n, dn

    def time(self, log_snr: Tensor) -> Tensor:
        return self.schedule.time(log_snr + 2 * math.log(self.shift))

    def norm(self, level: Level, slope: Level) -> tuple[Tensor, Tensor]:
        return self.schedule.norm(level, slope)


class Until(Schedule):
    """Any schedule up to where sigma / alpha is ``ratio``: what is noisier is left out, as some public models begin to
    sample at sigma = 500 and not at noise alone."""

    def __init__(self, schedule: Schedule, ratio: float):
        if not 0 < ratio < math.inf:
            raise ValueError(f"the ratio of sigma to alpha where a schedule ends is positive and finite, got {ratio}")
        self.schedule = schedule
        self.end = float(schedule.time(torch.tensor(-2 * math.log(ratio), dtype=torch.float64)))

    def level(self, t: Tensor) -> Level:
        return self.schedule.level(self.end * t)

    def slope(self, t: Tensor) -> Level:
        return Level(*(self.end * part for part in self.schedule.slope(self.end * t)))

    def time(self, log_snr: Tensor) -> Tensor:
        return (self.schedule.time(log_snr) / self.end).clamp(0, 1)

    def norm(self, level: Level, slope: Level) -> tuple[Tensor, Tensor]:
        return self.schedule.norm(level, slope)
