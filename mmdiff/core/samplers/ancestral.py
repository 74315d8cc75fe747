"""One step of first order: to the level s, keep x0, turn part of the noise, and draw the rest anew.

    x_s = alpha_s x0 + sqrt(sigma_s^2 - up^2) eps + up noise,     eps = (x_t - alpha_t x0) / sigma_t
    up  = eta sigma_s sqrt(1 - (r_s / r_t)^2),                    r = sigma / alpha

With eta = 0 this is Euler's rule for d(x / alpha) / dr = eps, and equally for dx = x0 d alpha + eps d sigma, so it is
DDIM, the Euler sampler of EDM (alpha = 1) and that of flow matching (dx/dt = eps - x0) at once. With eta = 1, ``up`` is
the standard deviation of the posterior q(x_s | x_t, x0), so it is DDPM and k-diffusion's Euler-ancestral at once.
"""

import math

from ..grids import Grid
from .base import Path, Sampler, SolverRow


class _Ancestral(Sampler):
    def __init__(self, steps: int, grid: Grid | None, eta: float):
        super().__init__(steps, grid)
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must be in [0, 1] (0 = deterministic, 1 = the full posterior variance), got {eta}")
        self.eta = eta

    def rows(self, path: Path) -> list[SolverRow]:
        rows = []
        for i, (alpha, sigma) in enumerate(zip(path.alpha[:-1], path.sigma[:-1], strict=True)):
            alpha_s, sigma_s = path.alpha[i + 1], path.sigma[i + 1]
            up = self.eta * sigma_s * math.sqrt(1 - (sigma_s * alpha / (alpha_s * sigma)) ** 2)
            turn = math.sqrt(sigma_s**2 - up**2) / sigma
            rows.append(SolverRow(i, step=(turn, alpha_s - turn * alpha), noise=up))
        return rows


class DDIM(_Ancestral):
    """DDIM (Song et al. 2021, eq. 12); ``eta`` in [0, 1] mixes in fresh noise. Order 1."""

    def __init__(self, steps: int = 50, grid: Grid | None = None, *, eta: float = 0.0):
        super().__init__(steps, grid, eta)


class DDPM(_Ancestral):
    """Ancestral sampling with the posterior variance (Ho et al. 2020, eq. 6-7), for any pair of levels."""

    def __init__(self, steps: int = 200, grid: Grid | None = None):
        super().__init__(steps, grid, eta=1.0)


class Euler(_Ancestral):
    """Euler's rule: EDM's in sigma on ``VarianceExploding``, flow matching's in t on ``Linear``. Order 1."""

    def __init__(self, steps: int = 50, grid: Grid | None = None):
        super().__init__(steps, grid, eta=0.0)


class EulerAncestral(_Ancestral):
    """Euler's rule to a lower level, then noise up to the next one (Karras et al. 2022, as in k-diffusion)."""

    def __init__(self, steps: int = 50, grid: Grid | None = None, *, eta: float = 1.0):
        super().__init__(steps, grid, eta)
