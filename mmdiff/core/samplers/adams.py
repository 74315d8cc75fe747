"""A multistep predictor-corrector that treats every schedule alike.

On the straight path of y = x / (alpha + sigma), tau = sigma / (alpha + sigma) in [0, 1], the sampling ODE is

    dy/dtau = v,     v = eps - x0 = (y - x0) / tau

which is flow matching's, whatever the schedule. Nothing is infinite at either end, and v is constant for data in one
point. A grid is a smooth map u -> t with evenly spaced nodes, so v is taken as a polynomial in u through the last
values, and integrated exactly against tau. A polynomial in log-SNR, or in tau, would suit some grids only.

    predictor   y_{i+1} = y_i + sum_j v_{i-j} integral of L_j dtau          (Adams-Bashforth; through one value, DDIM)
    corrector   the same over the last step, with the newest v too          (Adams-Moulton; it costs no call)
"""

from ..grids import Grid
from .base import Path, Sampler, SolverRow
from .correcting import merged
from .quadrature import moments_of_measure, solve


class AdamsPC(Sampler):
    """Adams predictor through the last ``order`` values; corrector through ``correct`` values, the newest included.

    Order: the larger of the two numbers, but at most 3, as the first step has one value (two, corrected) to go by; more
    pay before that limit is reached. ``correct`` = 0 is the predictor alone.
    """

    def __init__(self, steps: int = 20, grid: Grid | None = None, *, order: int = 2, correct: int = 3):
        super().__init__(steps, grid)
        if not 1 <= order <= 5:
            raise ValueError(f"order must be 1 to 5, got {order}")
        if correct != 0 and not 2 <= correct <= 6:
            raise ValueError(f"correct must be 0 (no corrector) or 2 to 6, got {correct}")
        self.order, self.correct = order, correct

    def rows(self, path: Path) -> list[SolverRow]:
        norm = [alpha + sigma for alpha, sigma in zip(path.alpha, path.sigma, strict=True)]
        tau = [sigma / n for sigma, n in zip(path.sigma, norm, strict=True)]

        def weights(i: int, values: int, newest: int) -> list[float]:
            """Of ``values`` of f = x0 - y = -tau v, from number ``newest`` backwards, in the step from node ``i``."""
            nodes = list(range(newest, max(newest - values, -1), -1))
            if len(nodes) == 1 or i + 1 == len(path.u):               # one value, or the last step beyond the grid
                return [1 - tau[i + 1] / tau[i]]
            start, h = path.u[i], path.u[i + 1] - path.u[i]
            moments = moments_of_measure(lambda s: 1 / (1 + 1 / path.ratio(start + h * s)), len(nodes))
            solved = solve([(path.u[k] - start) / h for k in nodes], moments)
            return [-w / tau[k] for w, k in zip(solved, nodes, strict=True)]

        def step(i: int, values: int, newest: int) -> tuple[float, ...]:
            return norm[i + 1] / norm[i], *(norm[i + 1] * w for w in weights(i, values, newest))

        predict = [step(i, self.order, i) for i in range(len(path.time))]
        correct = [step(i - 1, self.correct, i) for i in range(1, len(path.time))] if self.correct else []
        steps = merged(predict, correct) if self.correct else predict
        return [SolverRow(i, step=factors, remember=-1 / norm[i]) for i, factors in enumerate(steps)]
