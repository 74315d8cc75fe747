"""DPM-Solver++ (Lu et al. 2022b): the ODE in half log-SNR, with x0 interpolated in lambda.

    2S, 2M     <x0> = the line through the last two x0, at the midpoint of the step
    3M         <x0> = the parabola through the last three, integrated exactly
    2M-SDE     x_s = k (sigma_s / sigma_t) x_t + alpha_s (1 - k e^-h) <x0> + sigma_s sqrt(1 - k^2) noise, k = e^(-eta h)

The first step, and the last (to sigma = 0, where lambda is infinite), are of order 1.
"""

import math

from ..grids import Grid
from .base import Path, Sampler, SolverRow
from .exponential import half_log_snr, mean, step


class _Multistep(Sampler):
    order: int
    midpoint: bool

    def rows(self, path: Path) -> list[SolverRow]:
        lam = half_log_snr(path)
        rows = []
        for i in range(len(path.time)):
            nodes = lam[max(0, i + 1 - self.order) : i + 1][::-1]
            weights = mean(nodes, lam[i], lam[i + 1], midpoint=self.midpoint)
            rows.append(SolverRow(i, step=step(path, lam, i, i + 1, weights)))
        return rows


class DPMSolverPP2M(_Multistep):
    """DPM-Solver++(2M) (algorithm 2). Order 2."""

    order, midpoint = 2, True


class DPMSolverPP3M(_Multistep):
    """DPM-Solver++(3M). Order 3.

    The rule known as 3M elsewhere keeps half of the second difference, which leaves it at order 2; here it is whole.
    """

    order, midpoint = 3, False


class DPMSolverPP2S(Sampler):
    """DPM-Solver++(2S) (algorithm 1): single steps over two nodes, with the middle value at the node between. Order 2.

    One call a node, two nodes a step: ``calls`` = ``steps``. An even number of nodes begins with a step of order 1, so
    that the last node is left for the last step.
    """

    def rows(self, path: Path) -> list[SolverRow]:
        lam, n = half_log_snr(path), len(path.time)
        rows = []
        if n % 2 == 0:
            rows.append(SolverRow(0, step=step(path, lam, 0, 1, [1.0])))
        for i in range(1 - n % 2, n - 1, 2):
            rows.append(SolverRow(i, step=step(path, lam, i, i + 1, [1.0]), accept=False))
            weights = mean([lam[i + 1], lam[i]], lam[i], lam[i + 2], midpoint=True)
            rows.append(SolverRow(i + 1, step=step(path, lam, i, i + 2, weights)))
        return [*rows, SolverRow(n - 1, step=step(path, lam, n - 1, n, [1.0]))]


class DPMSolverPP2MSDE(Sampler):
    """SDE-DPM-Solver++(2M) (eq. 18); ``eta`` scales the noise: 1 = the reverse SDE, 0 = DPM-Solver++(2M)."""

    def __init__(self, steps: int = 50, grid: Grid | None = None, *, eta: float = 1.0):
        super().__init__(steps, grid)
        if eta < 0:
            raise ValueError(f"eta must not be negative, got {eta}")
        self.eta = eta

    def rows(self, path: Path) -> list[SolverRow]:
        lam = half_log_snr(path)
        rows = []
        for i in range(len(path.time)):
            h, sigma = lam[i + 1] - lam[i], path.sigma[i + 1]
            keep = math.exp(-self.eta * h) if self.eta else 1.0
            gain = -path.alpha[i + 1] * math.expm1(-(1 + self.eta) * h)
            weights = mean(lam[max(0, i - 1) : i + 1][::-1], lam[i], lam[i + 1], midpoint=True)
            factors = (sigma / path.sigma[i] * keep, *(gain * w for w in weights))
            rows.append(SolverRow(i, step=factors, noise=sigma * math.sqrt(1 - keep**2)))
        return rows
