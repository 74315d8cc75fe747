"""A multistep predictor-corrector that treats every schedule alike.

On the circle y = x / hypot(scale alpha, sigma), phi = atan2(sigma, scale alpha), the sampling ODE is

    dy/dphi = -F,     F = (x0 / scale - cos(phi) y) / sin(phi)

with nothing infinite at either end. F is what EDM's network puts out for data of standard deviation ``scale`` (scale = 1:
v-prediction). A grid is a smooth map u -> t with evenly spaced nodes, so F is taken as a polynomial in u through the
last values, and integrated exactly against phi. A polynomial in log-SNR, or in phi, would suit some grids only.

    predictor   y_{i+1} = y_i - sum_j F_{i-j} integral of L_j dphi          (Adams-Bashforth)
    corrector   the same over the last step, with the newest F too          (Adams-Moulton; it costs no call)

Through one value alone x0 and eps are held instead of F, which is the rotation of DDIM.
"""

import math

import torch

from ..grids import Grid
from .base import Path, Row, Sampler
from .quadrature import integrals


class AdamsPC(Sampler):
    """Adams predictor through the last ``order`` values; corrector through ``correct`` values, the newest included.

    Observed order: the larger of the two numbers, on a grid that ends at sigma = 0 (``Power``, and ``Uniform`` where the
    schedule does). ``correct`` = 0 is the predictor alone; ``scale`` is a typical standard deviation inside the data.
    """

    def __init__(
        self, steps: int = 20, grid: Grid | None = None, *, order: int = 2, correct: int = 3, scale: float = 0.5
    ):
        super().__init__(steps, grid)
        if not 1 <= order <= 5:
            raise ValueError(f"order must be 1 to 5, got {order}")
        if correct != 0 and not 2 <= correct <= 6:
            raise ValueError(f"correct must be 0 (no corrector) or 2 to 6, got {correct}")
        if not 0 < scale < math.inf:
            raise ValueError(f"scale must be positive and finite, got {scale}")
        self.order, self.correct, self.scale = order, correct, scale

    def rows(self, path: Path) -> list[Row]:
        phi = [math.atan2(sigma, self.scale * alpha) for alpha, sigma in zip(path.alpha, path.sigma, strict=True)]
        norm = [math.hypot(self.scale * alpha, sigma) for alpha, sigma in zip(path.alpha, path.sigma, strict=True)]

        def angle(u: torch.Tensor) -> torch.Tensor:
            return torch.atan(path.ratio(u) / self.scale)

        def step(i: int, nodes: list[float]) -> tuple[float, ...]:
            turn, smooth = phi[i] - phi[i + 1], i + 1 < len(path.u)
            if len(nodes) == 1 or not smooth:
                keep, weights = math.cos(turn), [-math.sin(turn)]
            else:
                keep, weights = 1.0, integrals(nodes, angle, path.u[i], path.u[i + 1])
            return (keep * norm[i + 1] / norm[i], *(-norm[i + 1] * w for w in weights))

        rows = []
        for i in range(len(path.time)):
            remember = (-1 / (math.tan(phi[i]) * norm[i]), 1 / (self.scale * math.sin(phi[i])))
            predict = step(i, path.u[max(0, i + 1 - self.order) : i + 1][::-1])
            correct = step(i - 1, path.u[max(0, i + 1 - self.correct) : i + 1][::-1]) if i and self.correct else None
            rows.append(Row(i, correct=correct, step=predict, remember=remember, accept=not self.correct))
        return rows
