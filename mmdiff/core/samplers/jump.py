"""Jumps from node to node by a network that is told where it jumps to, see ``core.jumps``.

    x_s = (turn / sigma_t) x_t + (alpha_s - turn alpha_t / sigma_t) D(t -> r) + renoise sigma_s noise
    turn = sigma_s sqrt(1 - renoise^2),    r: sigma_r / alpha_r = turn / alpha_s

``renoise`` = 0 goes to the node itself (r = s). Above 0 it goes beyond and draws that part of the noise anew; at 1 all
of it, so that every jump ends at the data (multistep sampling of consistency models, Song et al. 2023, algorithm 1; in
between, Kim et al. 2024, CTM, algorithm 3).
"""

import math

import torch
from torch import Tensor

from ..grids import Grid, Power
from ..jumps import Ends
from ..schedules import Schedule
from .base import Path, Sampler, SolverRow, trace


class Jump(Sampler):
    """``steps`` jumps, one network call each; for a model that learned them (``few=``)."""

    def __init__(self, steps: int = 4, grid: Grid | None = None, *, renoise: float = 0.0):
        super().__init__(steps, grid or Power(2.0, scale=3.0))
        if not 0 <= renoise <= 1:
            raise ValueError(f"renoise is the share of the noise that is drawn anew, 0 to 1, got {renoise}")
        self.renoise = renoise

    def rows(self, path: Path) -> list[SolverRow]:
        rows = []
        for i, (alpha, sigma) in enumerate(zip(path.alpha[:-1], path.sigma[:-1], strict=True)):
            turn = path.sigma[i + 1] * math.sqrt(1 - self.renoise**2) / sigma
            noise = self.renoise * path.sigma[i + 1]
            rows.append(SolverRow(i, step=(turn, path.alpha[i + 1] - turn * alpha), noise=noise))
        return rows

    def ends(self, schedule: Schedule) -> Ends:
        path = trace(schedule, self.grid, self.steps)
        left = math.sqrt(1 - self.renoise**2)
        ratio = [left * sigma / alpha for alpha, sigma in zip(path.alpha[1:], path.sigma[1:], strict=True)]
        nodes = torch.tensor(path.time, dtype=torch.float64)
        ends = schedule.time(-2 * torch.tensor(ratio, dtype=torch.float64).log())
        if not self.renoise:
            ends = torch.cat([nodes[1:], ends[-1:]])                  # to the bit where the next call begins

        def end(t: Tensor) -> Tensor:
            number = (nodes.to(t) >= t[:, None]).sum(1) - 1
            return ends.to(t)[number.clamp(min=0)]

        return end
