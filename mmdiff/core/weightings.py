"""Loss weightings, written once for x0 and carried to whatever the network puts out.

    loss = w(level) |x0_hat - x0|^2 = w_out |output - target|^2,     w_out = sigma^2 w / gain^2

    Uniform   w_out = 1                   MinSNR   w = min(SNR, gamma)
    Sigmoid   w = SNR sigmoid(bias - log SNR)      EDM      w = 1 + SNR

``x0`` returns sigma^2 w, finite at every level, so zero terminal SNR and sigma = 0 are ordinary points.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from .parameterizations import Parameterization
from .types import Level


class Weighting(ABC):
    """A weight on |x0_hat - x0|^2 as a function of the level."""

    @abstractmethod
    def x0(self, level: Level) -> Tensor:
        """``sigma^2 w(level)``, of the shape of the level."""

    def output(self, parameterization: Parameterization, level: Level, slope: Level) -> Tensor:
        """The weight on ``|output - target|^2`` that gives the same loss."""
        tiny = torch.finfo(level.alpha.dtype).tiny ** 0.5
        level = Level(level.alpha.clamp(min=tiny), level.sigma.clamp(min=tiny))
        return self.x0(level) / parameterization.gain(level, slope) ** 2


class UniformWeight(Weighting):
    """The plain mean squared error of the network's output, whatever it is (Ho et al. 2020, eq. 14)."""

    def x0(self, level: Level) -> Tensor:
        raise TypeError("Uniform weighs the network's output; in x0 its weight depends on the parameterization")

    def output(self, parameterization: Parameterization, level: Level, slope: Level) -> Tensor:
        return torch.ones_like(level.alpha)


class MinSNR(Weighting):
    """min(SNR, gamma) on x0 (Hang et al. 2023): 1 - as eps - down to SNR = gamma, then falling."""

    def __init__(self, gamma: float = 5.0):
        if gamma <= 0:
            raise ValueError(f"gamma must be positive, got {gamma}")
        self.gamma = gamma

    def x0(self, level: Level) -> Tensor:
        return torch.minimum(level.alpha**2, self.gamma * level.sigma**2)


class Sigmoid(Weighting):
    """sigmoid(bias - log SNR) on eps (Kingma & Gao 2023; Hoogeboom et al. 2024)."""

    def __init__(self, bias: float = 0.0):
        self.bias = bias

    def x0(self, level: Level) -> Tensor:
        log_snr = 2 * (level.alpha.log() - level.sigma.log())
        return level.alpha**2 * torch.sigmoid(self.bias - log_snr)


class EDM(Weighting):
    """1 + SNR on x0 (Karras et al. 2022, table 1, sigma_data = 1): uniform on the Karras output."""

    def x0(self, level: Level) -> Tensor:
        return level.alpha**2 + level.sigma**2
