"""A sampler run upwards: from data back to the noise that they were made of.

    dx = x0 d alpha + eps d sigma,     from sigma / alpha = LOW up to t = 1;     noise = x / hypot(alpha(1), sigma(1))

The ODE has no direction, and neither has the table of Heun's rule: its path is given the other way round. It begins at
alpha x0, as if the data were already noisy by so little: for data of spread s that is wrong by (LOW / s)^2 / 2.
What the model maps from many noises to one sample does not come back: how much does must be measured for each model.
"""

import torch
from torch import Tensor

from .grids import Power
from .samplers.base import Path, Table, integrate
from .samplers.heun import Heun
from .schedules import Schedule
from .types import Denoise


@torch.no_grad()
def invert(denoise: Denoise, x0: Tensor, schedule: Schedule, *, steps: int = 10) -> Tensor:
    """The noise ``(B, C, *S)``, standard normal, of latents ``x0`` that ``denoise`` takes it to; 2 ``steps`` calls."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    time = Power(2.0, scale=3.0)(schedule, steps + 1).flip(0)         # where Auto calls the network
    alpha, sigma = schedule.level(time)
    path = Path(time.tolist(), alpha.tolist(), sigma.tolist(), u=[], ratio=lambda u: u)
    x1 = integrate(denoise, path.alpha[0] * x0, Table(path.time, Heun().rows(path)))
    return x1 / float(torch.hypot(alpha[-1], sigma[-1]))
