"""What is asked of a latent so that it is easier to generate: a changed latent is to decode to a changed sample.

    Noisy    D(z + s std(z) eps) is to be x                          a diffusion model leaves some noise
    Scaled   D(half the size of z) is to be half the size of x       no channel may hide fine detail in a pattern of its
                                                                     own (Kouzelis et al. 2025, EQ-VAE, eq. 5)

Each costs one more decoding a step.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from .base import Amount


class LatentTask(ABC):
    """A term of a codec's loss, times ``weight``: how far a changed latent decodes from the changed sample."""

    def __init__(self, *, weight: Amount = 1.0):
        self.weight = weight

    @abstractmethod
    def check(self, stride: Sequence[int]) -> None:
        """Raise ``ValueError`` where latents of this stride cannot be changed so."""

    @abstractmethod
    def changed(self, z: Tensor, x: Tensor, eps: Tensor, stride: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The latents ``(B, C, *S')`` and samples ``(B, channels, *S)``, changed; ``eps`` like ``z`` is normal."""


class Noisy(LatentTask):
    """Noise of ``noise`` deviations of each channel."""

    def __init__(self, *, noise: Amount = 0.2, weight: Amount = 1.0):
        super().__init__(weight=weight)
        self.noise = noise

    def check(self, stride: Sequence[int]) -> None:
        """Any will do."""

    def changed(self, z: Tensor, x: Tensor, eps: Tensor, stride: Sequence[int]) -> tuple[Tensor, Tensor]:
        spread = z.detach().transpose(0, 1).flatten(1).std(1).view(1, -1, *(1,) * (z.ndim - 2))
        return z + self.noise * spread * eps, x


class Scaled(LatentTask):
    """Half of the height and width, by means."""

    def check(self, stride: Sequence[int]) -> None:
        if len(stride) < 2:
            raise ValueError("Scaled halves height and width, and these latents have none: leave it out")

    def changed(self, z: Tensor, x: Tensor, eps: Tensor, stride: Sequence[int]) -> tuple[Tensor, Tensor]:
        size = [max(1, n // 2) for n in z.shape[-2:]]
        smaller = [n * step for n, step in zip(size, stride[-2:], strict=True)]
        return _resized(z, size), _resized(x, smaller)


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """``(B, C, ..., H, W)`` to another height and width, each value a mean."""
    flat = F.adaptive_avg_pool2d(x.flatten(0, -3)[:, None], (int(size[0]), int(size[1])))
    return flat[:, 0].unflatten(0, x.shape[:-2])
