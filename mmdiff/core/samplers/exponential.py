"""The ODE in half log-SNR, lambda = log(alpha / sigma), solved exactly but for x0 (Lu et al. 2022b, eq. 8):

    x_s = (sigma_s / sigma_t) x_t + alpha_s (1 - e^-h) <x0>,     h = lambda_s - lambda_t
    <x0> = mean of x0(lambda) over [lambda_t, lambda_s] under the density ~ e^lambda

Solvers differ in how they estimate <x0> from a few values. At the ends lambda is infinite (sigma = 0 or alpha = 0): a
value there cannot be interpolated and is left out, and a step that starts or ends there takes the newest value alone.
"""

import math

import torch

from .base import Path
from .quadrature import moments_of_density, solve


def half_log_snr(path: Path) -> list[float]:
    """lambda of every node, and +inf of the clean level."""
    return [
        math.inf if sigma == 0 else -math.inf if alpha == 0 else math.log(alpha / sigma)
        for alpha, sigma in zip(path.alpha, path.sigma, strict=True)
    ]


def mean(nodes: list[float], start: float, end: float, *, midpoint: bool = False) -> list[float]:
    """Weights of <x0> on values at ``nodes``, newest first: the polynomial's mean, or its value at the midpoint."""
    h = end - start
    if not math.isfinite(h):
        return [1.0] + [0.0] * (len(nodes) - 1)
    finite = [node for node in nodes if math.isfinite(node)]
    if midpoint:
        moments = 0.5 ** torch.arange(len(finite), dtype=torch.float64)
    else:
        moments = moments_of_density(lambda s: torch.exp((s - 1) * h), len(finite))
    weights = iter(solve([(node - start) / h for node in finite], moments))
    return [next(weights) if math.isfinite(node) else 0.0 for node in nodes]


def step(path: Path, lam: list[float], i: int, k: int, weights: list[float]) -> tuple[float, ...]:
    """The factors of a step from node ``i`` to node ``k`` whose <x0> has these ``weights``."""
    gain = -path.alpha[k] * math.expm1(lam[i] - lam[k])
    return (path.sigma[k] / path.sigma[i], *(gain * w for w in weights))
