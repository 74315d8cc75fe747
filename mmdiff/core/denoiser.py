"""A network made into a denoiser: (x_t, t) -> x0.

    x0 = parameterization.denoised(x_t, network(x_t / hypot(alpha, sigma), (2/pi) atan2(sigma, alpha)))

The network sees unit-variance input and a bounded noise level that does not depend on the schedule, so the schedule
can be swapped after training. Levels are computed in float32 at least; only the network may run in low precision.
"""

import math

import torch
from torch import Tensor, nn

from .parameterizations import Noise, Parameterization
from .schedules import Schedule
from .types import Condition, Denoise, Level, expand


class Denoiser(nn.Module):
    """``network(x (B, C, *S), level (B,) or (B, T), cond, mask) -> (B, C, *S)`` read through a parameterization."""

    def __init__(self, network: nn.Module, schedule: Schedule, parameterization: Parameterization):
        super().__init__()
        end = schedule.level(torch.ones(1, dtype=torch.float64))
        if isinstance(parameterization, Noise) and end.alpha.item() < 1e-6:
            raise ValueError(
                f"Noise cannot be trained on {type(schedule).__name__}: at t = 1 it holds no signal, and eps says "
                "nothing of x0 there. Use V, Velocity, Data or Karras, or a schedule that keeps some signal."
            )
        for t in (torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)):
            level, slope = schedule.level(t), schedule.slope(t)
            x0 = parameterization.denoised(torch.ones_like(t), torch.zeros_like(t), level, slope)
            if level.sigma.item() > 0 and not x0.isfinite():          # where sigma is 0 no sampler asks
                pair = f"{type(parameterization).__name__} does not give x0 on {type(schedule).__name__}"
                at, rate = (f"({v.alpha.item():g}, {v.sigma.item():g})" for v in (level, slope))
                raise ValueError(f"{pair} at t = {t.item():g}: level {at}, slope {rate}")
        learned = getattr(network, "puts_out", None)
        if learned is not None and not isinstance(parameterization, learned):
            raise ValueError(f"{type(network).__name__} learned to put out what {learned.__name__} is, and "
                             f"{type(parameterization).__name__} reads it as something else")
        self.network, self.schedule, self.parameterization = network, schedule, parameterization

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None, mask: Tensor | None = None) -> Tensor:
        """The expected x0. ``t`` ``(B,)`` or ``(B, T)``; positions where ``mask`` is False come out as 0."""
        level, slope = self.levels(t, x_t)
        x0 = self.parameterization.denoised(x_t, self.output(x_t, t, cond, mask), level, slope)
        return x0 if mask is None else torch.where(mask, x0, 0)

    def output(self, x_t: Tensor, t: Tensor, cond: Condition | None = None, mask: Tensor | None = None) -> Tensor:
        """The raw output of the network, in the dtype of ``x_t``."""
        alpha, sigma = self.schedule.level(t)
        x = x_t / expand(torch.hypot(alpha, sigma), x_t).to(x_t.dtype)
        if mask is not None:
            x = torch.where(mask, x, 0)                               # NaN in padding must not reach the network
        return self.network(x, self.level(t).to(x_t.dtype), cond or Condition(), mask).to(x_t.dtype)

    def level(self, t: Tensor) -> Tensor:
        """What a network is told of the times ``t``, of the same shape: 0 = clean, 1 = noise."""
        alpha, sigma = self.schedule.level(t)
        return 2 / math.pi * torch.atan2(sigma, alpha)

    def levels(self, t: Tensor, like: Tensor) -> tuple[Level, Level]:
        """Level and slope at ``t``, shaped to broadcast against ``like``."""
        level, slope = self.schedule.level(t), self.schedule.slope(t)
        return Level(*(expand(v, like) for v in level)), Level(*(expand(v, like) for v in slope))

    def bind(self, cond: Condition | None = None, mask: Tensor | None = None) -> Denoise:
        """Fix the condition and the mask: what is left is all that samplers and guidance see."""
        return lambda x_t, t: self(x_t, t, cond, mask)
