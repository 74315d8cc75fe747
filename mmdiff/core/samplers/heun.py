"""Heun's rule (trapezoid) for the probability-flow ODE, written without a variable of time:

    dx = x0 d alpha + eps d sigma
    x_s = x_t + (alpha_s - alpha_t) (x0_t + x0_s) / 2 + (sigma_s - sigma_t) (eps_t + eps_s) / 2

with x0_s, eps_s found at the point of one Euler step. On ``VarianceExploding`` it is algorithm 1 of EDM (the variable
is sigma), on ``Linear`` Heun's rule of flow matching (the variable is t).
"""

from .base import Path, Sampler, SolverRow


class Heun(Sampler):
    """Heun's rule (Karras et al. 2022, algorithm 1, without churn). Order 2.

    Two calls a step, one for the last, which is Euler's: ``calls`` = 2 ``steps`` - 1.
    """

    @property
    def calls(self) -> int:
        return 2 * self.steps - 1

    def rows(self, path: Path) -> list[SolverRow]:
        rows = []
        for i, (alpha, sigma) in enumerate(zip(path.alpha[:-1], path.sigma[:-1], strict=True)):
            alpha_s, sigma_s = path.alpha[i + 1], path.sigma[i + 1]
            euler = alpha_s - sigma_s * alpha / sigma
            rows.append(SolverRow(i, step=(sigma_s / sigma, euler), accept=sigma_s == 0))
            if sigma_s > 0:
                rise, fall = (alpha_s - alpha) / 2, (sigma_s - sigma) / 2
                new = rise - fall * alpha_s / sigma_s
                old = rise + fall * (euler / sigma_s - alpha / sigma)
                rows.append(SolverRow(i + 1, step=(sigma_s / sigma, new, old)))
        return rows
