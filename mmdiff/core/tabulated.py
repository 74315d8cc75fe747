"""Schedules that models learned as a table of N steps, as continuous ones.

    abar_k = prod_{j <= k} (1 - beta_j),   sqrt(beta_k) evenly spaced             (Rombach et al. 2022)
    SNR  <-  SNR / scale                                                          (Yang et al. 2024, CogVideoX)
    sqrt(abar)  <-  moved and stretched to 0 at the last step                     (Lin et al. 2024, algorithm 1)

Step k is t = (k + 1) / N, and t = 0 is clean. Between two steps the angle of (alpha, sigma) is linear, so that level,
its inverse and the index of a step are exact at every step, also where there is no signal.
"""

import torch
from torch import Tensor

from .schedules import Spherical
from .types import Level


class ScaledLinear(Spherical):
    """``steps`` rates between ``beta_start`` and ``beta_end``; with ``zero_terminal`` the last step has no signal."""

    def __init__(
        self, beta_start: float = 0.00085, beta_end: float = 0.012, *, steps: int = 1000, snr_scale: float = 1.0,
        zero_terminal: bool = True,
    ):
        if not 0 < beta_start < beta_end < 1 or steps < 2 or snr_scale <= 0:
            raise ValueError("need 0 < beta_start < beta_end < 1, 2 steps or more and a positive snr_scale, got "
                             f"{beta_start}, {beta_end}, {steps} and {snr_scale}")
        betas = torch.linspace(beta_start**0.5, beta_end**0.5, steps, dtype=torch.float64) ** 2
        signal = torch.cumprod(1 - betas, 0)
        signal = (signal / (snr_scale + (1 - snr_scale) * signal)).sqrt()
        if zero_terminal:
            signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
        self.steps = steps
        self.angles = torch.cat([signal.new_zeros(1), torch.atan2((1 - signal**2).sqrt(), signal)])

    def level(self, t: Tensor) -> Level:
        angle = self._at(t)[0].to(t.dtype)
        return Level(angle.cos(), angle.sin())

    def slope(self, t: Tensor) -> Level:
        angle, rate = (value.to(t.dtype) for value in self._at(t))
        return Level(-angle.sin() * rate, angle.cos() * rate)

    def time(self, log_snr: Tensor) -> Tensor:
        return self.index_of(torch.atan(torch.exp(-log_snr.double() / 2))).add(1).div(self.steps).to(log_snr.dtype)

    def index_of(self, angle: Tensor) -> Tensor:
        """Which step an angle is of, in float64: -1 = clean, N - 1 = the last."""
        nodes, angle = self.angles.to(angle.device), angle.double()
        after = torch.searchsorted(nodes, angle.contiguous()).clamp(1, self.steps)
        share = (angle - nodes[after - 1]) / (nodes[after] - nodes[after - 1])
        return (after - 2 + share).clamp(-1, self.steps - 1)

    def _at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The angle at ``t``, and its derivative."""
        nodes, position = self.angles.to(t.device), t.double() * self.steps
        before = position.floor().long().clamp(0, self.steps - 1)
        rise = nodes[before + 1] - nodes[before]
        return nodes[before] + (position - before) * rise, rise * self.steps
