"""Problems whose answer is known: data for which the denoiser, and so the sampling ODE, is exact.

    x0 ~ sum_k w_k N(m_k, s_k^2)        v_k = alpha^2 s_k^2 + sigma^2,   gain_k = alpha s_k^2 / v_k
    x0(x, alpha, sigma) = sum_k p_k [m_k + gain_k (x - alpha m_k)]
    p = softmax(log w - sum_d [(x - alpha m)^2 / v + log v] / 2)

One Gaussian has a closed endpoint too: x0 = m + s (x - alpha m) / sqrt(v).
"""

import math
from collections.abc import Callable

from torch import Tensor

from ..core.schedules import Schedule
from ..core.types import Denoise

PosteriorMean = Callable[[Tensor, float, float], Tensor]
"""``(x (B, D), alpha, sigma) -> E[x0 | alpha x0 + sigma eps = x]``."""


class Mixture:
    """A mixture of K diagonal Gaussians: ``weights`` ``(K,)``, ``means`` and ``stds`` ``(K, D)``, float64."""

    def __init__(self, weights: Tensor, means: Tensor, stds: Tensor):
        self.weights, self.means, self.stds = weights / weights.sum(), means, stds

    def subset(self, count: int) -> "Mixture":
        """The first ``count`` components alone, as a condition would pick them."""
        return Mixture(self.weights[:count], self.means[:count], self.stds[:count])

    @property
    def rms(self) -> float:
        """Root mean square of the data."""
        return float((self.weights[:, None] * (self.means**2 + self.stds**2)).sum(0).mean().sqrt())

    def posterior_mean(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """E[x0 | x] of ``x`` ``(B, D)`` at one level."""
        m, square = self.means.to(x), self.stds.to(x) ** 2
        v = alpha**2 * square + sigma**2                                   # (K, D)
        gain = alpha * square / v
        constant = self.weights.to(x).log() - (alpha**2 * m**2 / v + v.log()).sum(1) / 2
        p = (constant + x @ (alpha * m / v).T - x**2 @ (0.5 / v).T).softmax(1)
        return p @ (m - gain * alpha * m) + (p @ gain) * x

    def denoiser(self, schedule: Schedule) -> Denoise:
        """The exact denoiser; all samples of a batch share one time."""
        return denoiser(self.posterior_mean, schedule)


class Gaussian(Mixture):
    """Independent Gaussians, ``mean`` and ``std`` ``(D,)``."""

    def __init__(self, mean: Tensor, std: Tensor):
        super().__init__(mean.new_ones(1), mean[None], std[None])
        self.mean, self.std = mean, std

    def endpoint(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """Where the probability-flow ODE takes ``x``."""
        return self.mean + self.std * (x - alpha * self.mean) / (alpha**2 * self.std**2 + sigma**2).sqrt()


def guided(cond: PosteriorMean, uncond: PosteriorMean, scale: float) -> PosteriorMean:
    """Classifier-free guidance of two exact fields, which is exact again."""
    return lambda x, alpha, sigma: (1 - scale) * uncond(x, alpha, sigma) + scale * cond(x, alpha, sigma)


def denoiser(posterior_mean: PosteriorMean, schedule: Schedule) -> Denoise:
    """A field as a function of time; all samples of a batch share one time."""

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = schedule.level(t[0].double())
        return posterior_mean(x_t, float(alpha), float(sigma))

    return denoise


def endpoint(posterior_mean: PosteriorMean, x: Tensor, alpha: float, sigma: float, *, steps: int = 1000) -> Tensor:
    """Where the ODE takes ``x`` ``(B, D)``, by the classical Runge-Kutta rule; float64.

    Integrates the angle phi = atan2(sigma, alpha) = (pi / 2) w^3 evenly in w, from any level (alpha = 0 included) to
    phi = 1e-5, and denoises once: dy/dphi = (cos(phi) y - x0) / sin(phi) for y = x / hypot(alpha, sigma).
    """

    def velocity(y: Tensor, w: float) -> Tensor:
        phi = math.pi / 2 * w**3
        c, s = math.cos(phi), math.sin(phi)
        return 1.5 * math.pi * w**2 * (c * y - posterior_mean(y, c, s)) / s

    y = x.double() / math.hypot(alpha, sigma)
    start, end = ((phi * 2 / math.pi) ** (1 / 3) for phi in (math.atan2(sigma, alpha), 1e-5))
    h = (end - start) / steps
    for i in range(steps):
        w = start + i * h
        k1 = velocity(y, w)
        k2 = velocity(y + h / 2 * k1, w + h / 2)
        k3 = velocity(y + h / 2 * k2, w + h / 2)
        k4 = velocity(y + h * k3, w + h)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return posterior_mean(y, math.cos(1e-5), math.sin(1e-5))
