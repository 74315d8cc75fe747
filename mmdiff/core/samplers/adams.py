"""A multistep predictor-corrector that treats every schedule alike.

On the straight path of y = x / (alpha + sigma), tau = sigma / (alpha + sigma) in [0, 1], the sampling ODE is

    dy/dtau = v,     v = eps - x0 = (y - x0) / tau

which is flow matching's, whatever the schedule. Nothing is infinite at either end, and data in one point make v constant.
A grid is a smooth map u -> t with evenly spaced nodes, so v is taken as a polynomial in u through the last values, and
integrated exactly against tau. A polynomial in log-SNR, or in tau, would suit some grids only.

    predictor   y_{i+1} = y_i + sum_j v_{i-j} integral of L_j dtau          (Adams-Bashforth; through one value, DDIM)
    corrector   the same over the last step, with the newest v too          (Adams-Moulton; it costs no call)
"""

from ..grids import Grid
from .base import Path, Row, Sampler
from .quadrature import moments_of_measure, solve


class AdamsPC(Sampler):
    """Adams predictor through the last ``order`` values; corrector through ``correct`` values, the newest included.

    Observed order: the larger of the two numbers. ``correct`` = 0 is the predictor alone.
    """

    def __init__(self, steps: int = 20, grid: Grid | None = None, *, order: int = 2, correct: int = 3):
        super().__init__(steps, grid)
        if not 1 <= order <= 5:
            raise ValueError(f"order must be 1 to 5, got {order}")
        if correct != 0 and not 2 <= correct <= 6:
            raise ValueError(f"correct must be 0 (no corrector) or 2 to 6, got {correct}")
        self.order, self.correct = order, correct

    def rows(self, path: Path) -> list[Row]:
        norm = [alpha + sigma for alpha, sigma in zip(path.alpha, path.sigma, strict=True)]
        tau = [sigma / n for sigma, n in zip(path.sigma, norm, strict=True)]

        def step(i: int, nodes: list[float]) -> tuple[float, ...]:
            if len(nodes) == 1 or i + 1 == len(path.u):               # one value, or the last step beyond the grid
                weights = [tau[i + 1] - tau[i]]
            else:
                start, h = path.u[i], path.u[i + 1] - path.u[i]
                moments = moments_of_measure(lambda s: 1 / (1 + 1 / path.ratio(start + h * s)), len(nodes))
                weights = solve([(u - start) / h for u in nodes], moments)
            return (norm[i + 1] / norm[i], *(norm[i + 1] * w for w in weights))

        rows = []
        for i in range(len(path.time)):
            predict = step(i, path.u[max(0, i + 1 - self.order) : i + 1][::-1])
            correct = step(i - 1, path.u[max(0, i + 1 - self.correct) : i + 1][::-1]) if i and self.correct else None
            remember = (1 / path.sigma[i], -1 / tau[i])
            rows.append(Row(i, correct=correct, step=predict, remember=remember, accept=not self.correct))
        return rows
