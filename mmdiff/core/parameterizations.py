"""What the network's output means, and its exact conversion to x0.

    Noise     eps                                    Data      x0
    V         alpha eps - sigma x0                   Velocity  dx_t/dt = alpha' x0 + sigma' eps
    Karras    (sigma x0 - alpha eps) / hypot(alpha, sigma)      (EDM's F with sigma_data = 1)
    Difference                                       eps - x0

``gain`` is sigma |d output / d x0| at fixed x_t: |output error| = gain / sigma |x0 error|. It is finite at every
level, and is all that a loss weighting must know of the parameterization.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from .types import Level, blend


class Parameterization(ABC):
    """Exact inverses: ``denoised(x_t, target(x0, eps, ...), ...) == x0``. Levels broadcast against ``x0``."""

    @abstractmethod
    def target(self, x0: Tensor, eps: Tensor, level: Level, slope: Level) -> Tensor:
        """What the network should put out."""

    @abstractmethod
    def denoised(self, x_t: Tensor, output: Tensor, level: Level, slope: Level) -> Tensor:
        """The x0 that an output stands for."""

    @abstractmethod
    def gain(self, level: Level, slope: Level) -> Tensor:
        """``sigma |d output / d x0|``, of the shape of the level."""


class Noise(Parameterization):
    """Predict eps (Ho et al. 2020). Undefined at alpha = 0, so it cannot be used with a zero-terminal-SNR schedule."""

    def target(self, x0: Tensor, eps: Tensor, level: Level, slope: Level) -> Tensor:
        return eps

    def denoised(self, x_t: Tensor, output: Tensor, level: Level, slope: Level) -> Tensor:
        return blend(1 / level.alpha, x_t, -level.sigma / level.alpha, output)

    def gain(self, level: Level, slope: Level) -> Tensor:
        return level.alpha


class Data(Parameterization):
    """Predict x0."""

    def target(self, x0: Tensor, eps: Tensor, level: Level, slope: Level) -> Tensor:
        return x0

    def denoised(self, x_t: Tensor, output: Tensor, level: Level, slope: Level) -> Tensor:
        return output

    def gain(self, level: Level, slope: Level) -> Tensor:
        return level.sigma


class V(Parameterization):
    """Predict v (Salimans & Ho 2022), for any alpha and sigma."""

    def target(self, x0: Tensor, eps: Tensor, level: Level, slope: Level) -> Tensor:
        return level.alpha * eps - level.sigma * x0

    def denoised(self, x_t: Tensor, output: Tensor, level: Level, slope: Level) -> Tensor:
        n = self.gain(level, slope)
        return blend(level.alpha / n, x_t, -level.sigma / n, output)

    def gain(self, level: Level, slope: Level) -> Tensor:
        return level.alpha**2 + level.sigma**2


class Velocity(Parameterization):
    """Predict dx_t/dt (flow matching, Lipman et al. 2023); on ``Linear`` that is eps - x0."""

    def target(self, x0: Tensor, eps: Tensor, level: Level, slope: Level) -> Tensor:
        return slope.alpha * x0 + slope.sigma * eps

    def denoised(self, x_t: Tensor, output: Tensor, level: Level, slope: Level) -> Tensor:
        n = self.gain(level, slope)
        return blend(slope.sigma / n, x_t, -level.sigma / n, output)

    def gain(self, level: Level, slope: Level) -> Tensor:
        return level.alpha * slope.sigma - level.sigma * slope.alpha


class Difference(Parameterization):
    """Predict eps - x0 on any schedule: what rectified flow calls velocity, whatever its shift (Esser et al. 2024).

    On ``Linear`` it is ``Velocity``; on another one it lacks the slope of the path in t, so that networks that learned
    with one shift go on with another.
    """

    def target(self, x0: Tensor, eps: Tensor, level: Level, slope: Level) -> Tensor:
        return eps - x0

    def denoised(self, x_t: Tensor, output: Tensor, level: Level, slope: Level) -> Tensor:
        n = self.gain(level, slope)
        return blend(1 / n, x_t, -level.sigma / n, output)

    def gain(self, level: Level, slope: Level) -> Tensor:
        return level.alpha + level.sigma


class Karras(Parameterization):
    """Predict the unit-variance F of EDM (Karras et al. 2022, eq. 7) with sigma_data = 1, as latents are whitened."""

    def target(self, x0: Tensor, eps: Tensor, level: Level, slope: Level) -> Tensor:
        return (level.sigma * x0 - level.alpha * eps) / torch.hypot(level.alpha, level.sigma)

    def denoised(self, x_t: Tensor, output: Tensor, level: Level, slope: Level) -> Tensor:
        n = torch.hypot(level.alpha, level.sigma)
        return blend(level.alpha / n / n, x_t, level.sigma / n, output)

    def gain(self, level: Level, slope: Level) -> Tensor:
        return torch.hypot(level.alpha, level.sigma)
