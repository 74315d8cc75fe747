"""What stands between encoder and decoder, so that a latent can be generated: small, and near where others are.

    Plain     z = h
    KL        h = (mean, log var),  z = mean + e^(log var / 2) eps,   penalty = weight KL(N(mean, var) || N(0, 1))
    Bounded   z = tanh(h),  to the decoder z + noise eps                                no penalty: nothing can run away

The latent that is used is always without noise: the mean, or tanh(h). (Kingma & Welling 2014, eq. 10; the KL weight of
latent diffusion is small, Rombach et al. 2022, section 3.1.)
"""

from abc import ABC, abstractmethod
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

Weight = Annotated[float, Ge(0)]
QUIET = 6.0
"""Nats by which the variance of an untrained encoder is below 1: noise of 0.05, through which something is learned."""


class Bottleneck(ABC):
    """From what an encoder gives to the latent."""

    moments: int = 1
    """Numbers of the encoder's output for each of the latent."""

    @abstractmethod
    def latent(self, h: Tensor) -> Tensor:
        """``(B, moments C, *S)`` to the latent ``(B, C, *S)``."""

    @abstractmethod
    def drawn(self, h: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """The latent as the decoder sees it in training, and a penalty for each of its numbers, both ``(B, C, *S)``;
        ``eps`` ``(B, C, *S)`` is normal."""


class Plain(Bottleneck):
    """The encoder's output itself: for encoders that nothing learns, such as a spectrogram."""

    def latent(self, h: Tensor) -> Tensor:
        return h

    def drawn(self, h: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        return h, torch.zeros_like(h)


class KL(Bottleneck):
    """A variational latent; ``weight`` is that of a nat a number of it."""

    moments = 2

    def __init__(self, *, weight: Weight = 1e-4):
        self.weight = weight

    def latent(self, h: Tensor) -> Tensor:
        return h.chunk(2, 1)[0]

    def drawn(self, h: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = h.float().chunk(2, 1)
        log_var = (log_var - QUIET).clamp(-20, 10)
        penalty = 0.5 * (mean.square() + log_var.exp() - 1 - log_var)
        return mean + (log_var / 2).exp() * eps, self.weight * penalty


class Bounded(Bottleneck):
    """A latent within (-1, 1), to which training adds ``noise`` so that near latents decode alike."""

    def __init__(self, *, noise: Weight = 0.1):
        self.noise = noise

    def latent(self, h: Tensor) -> Tensor:
        return torch.tanh(h)

    def drawn(self, h: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.tanh(h.float())
        return z + self.noise * eps, torch.zeros_like(z)
