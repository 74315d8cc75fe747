"""A multistep predictor-corrector that treats every schedule alike.

On the circle y = x / hypot(scale alpha, sigma), phi = atan2(sigma, scale alpha), the sampling ODE is

    dy/dphi = -F,     F = (x0 / scale - cos(phi) y) / sin(phi)

with nothing infinite at either end. F is what EDM's network puts out for data of standard deviation ``scale`` (scale = 1:
v-prediction). A grid is a smooth map u -> t with evenly spaced nodes, so F is taken as a polynomial in u, through the
last values, and its integral against dphi/du is exact. A polynomial in log-SNR, or in phi, suits some grids only.

    predictor   y_{i+1} = y_i - sum_j F_{i-j} integral of L_j dphi          (Adams-Bashforth)
    corrector   the same over the last step with the newest F as well        (Adams-Moulton; it costs no call)

Through one value alone x0 and eps are held instead of F, which is the rotation of DDIM.
"""

import math

import torch

from ..grids import Grid
from ..types import Level
from .base import Path, Row, Sampler
from .quadrature import gauss_legendre, lagrange


class AdamsPC(Sampler):
    """Adams predictor through ``order`` values, and corrector through ``correct`` (0 = none). Order: the larger number."""

    def __init__(
        self, steps: int = 20, grid: Grid | None = None, *, order: int = 2, correct: int = 3, scale: float = 0.5
    ):
        super().__init__(steps, grid)
        if not 1 <= order <= 5:
            raise ValueError(f"order must be 1 to 5, got {order}")
        if correct and not 2 <= correct <= 6:
            raise ValueError(f"correct must be 0 (none) or 2 to 6, got {correct}")
        if not 0 < scale < math.inf:
            raise ValueError(f"scale must be positive and finite, got {scale}")
        self.order, self.correct, self.scale = order, correct, scale

    def rows(self, path: Path) -> list[Row]:
        rows = []
        for i, (alpha, sigma) in enumerate(zip(path.alpha[:-1], path.sigma[:-1], strict=True)):
            n, phi = math.hypot(self.scale * alpha, sigma), math.atan2(sigma, self.scale * alpha)
            remember = (-1 / (math.tan(phi) * n), 1 / (self.scale * math.sin(phi)))
            correct = self._step(path, i - 1, i, min(self.correct, i + 1)) if i and self.correct else None
            step = self._step(path, i, i + 1, min(self.order, i + 1))
            rows.append(Row(i, step=step, correct=correct, remember=remember, accept=not self.correct))
        return rows

    def _step(self, path: Path, i: int, k: int, values: int) -> tuple[float, ...]:
        """Factors of the step from node ``i`` to ``k`` on the newest ``values`` values."""
        alpha, sigma = (torch.tensor(v, dtype=torch.float64) for v in ([path.alpha[i], path.alpha[k]], [path.sigma[i], path.sigma[k]]))
        n, phi = torch.hypot(self.scale * alpha, sigma), torch.atan2(sigma, self.scale * alpha)
        return ()
