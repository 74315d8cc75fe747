"""UniPC (Zhao et al. 2023): predict, call the network, redo the step with what it said.

    predictor   <x0> from the last p values, in half log-SNR
    corrector   the same with the newest value as well, one order higher; it costs no call

With B(h) = e^h - 1 (the paper's B2, x0-prediction) the unknown of two values is 1/2, which is the line at the midpoint;
from three on B cancels, and the paper's linear system says that the polynomial is integrated exactly.
"""

from ..grids import Grid
from .base import Path, Sampler, SolverRow
from .correcting import merged
from .exponential import half_log_snr, mean, step


class UniPC(Sampler):
    """UniPC of ``order`` p, that is UniP-p with UniC-p: observed order p + 1 (algorithm 1)."""

    def __init__(self, steps: int = 20, grid: Grid | None = None, *, order: int = 2):
        super().__init__(steps, grid)
        if not 1 <= order <= 4:
            raise ValueError(f"order must be 1 to 4, got {order}")
        self.order = order

    def rows(self, path: Path) -> list[SolverRow]:
        lam = half_log_snr(path)

        def factors(i: int, nodes: list[float]) -> tuple[float, ...]:
            return step(path, lam, i, i + 1, mean(nodes, lam[i], lam[i + 1], midpoint=len(nodes) == 2))

        steps = range(len(path.time))
        predict = [factors(i, lam[max(0, i + 1 - self.order) : i + 1][::-1]) for i in steps]
        correct = [factors(i - 1, lam[max(0, i - self.order) : i + 1][::-1]) for i in steps[1:]]
        return [SolverRow(i, step=step) for i, step in enumerate(merged(predict, correct))]
