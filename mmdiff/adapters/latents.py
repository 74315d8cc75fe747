"""What is asked of a latent so that it is easier to generate, such as that a changed one decodes to a changed sample.

    Noisy    D(z + s |z| eps) is to be x                             a diffusion model leaves some noise
    Scaled   D(half the size of z) is to be half the size of x       no channel may hide fine detail in a pattern of its
                                                                     own (Kouzelis et al. 2025, EQ-VAE, eq. 5)

Each costs one more decoding a step.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .base import Amount, Codec


class LatentTask(nn.Module, ABC):
    """A term of a codec's loss, times ``weight``. What learns in it learns with the codec, and is in no model file."""

    digest: str = ""
    """As that of ``ReconstructionLoss``."""

    def __init__(self, *, weight: Amount = 1.0):
        super().__init__()
        self.weight = weight

    @abstractmethod
    def make(self, latent: int, stride: tuple[int, ...]) -> None:
        """Make its layers for a latent of so many channels. Raise ``ValueError`` where latents of this stride cannot
        be asked so."""

    def open(self, base: Codec) -> None:
        """As ``ReconstructionLoss.open``."""

    @abstractmethod
    def forward(self, z: Tensor, x: Tensor, eps: Tensor, apart: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """``(B,)`` for latents ``(B, C, *S')`` of samples ``(B, channels, *S)``; ``eps`` like ``z`` is normal, and
        ``apart(z', x')`` is how far what is decoded of ``z'`` is from ``x'``, by the terms of the loss."""


class Noisy(LatentTask):
    """Noise of ``noise`` times |z|, the root mean square of each channel of a sample: what else is in the batch, or on
    how many processes it is, has no say."""

    def __init__(self, *, noise: Amount = 0.2, weight: Amount = 1.0):
        super().__init__(weight=weight)
        self.noise = noise

    def make(self, latent: int, stride: tuple[int, ...]) -> None:
        """Nothing: any will do."""

    def forward(self, z: Tensor, x: Tensor, eps: Tensor, apart: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        size = z.detach().flatten(2).square().mean(2).sqrt()
        return apart(z + self.noise * size.view(*z.shape[:2], *(1,) * (z.ndim - 2)) * eps, x)


class Scaled(LatentTask):
    """Half of the height and width, by means."""

    def make(self, latent: int, stride: tuple[int, ...]) -> None:
        if len(stride) < 2:
            raise ValueError("Scaled halves height and width, and these latents have none: leave it out")
        self.stride = stride

    def forward(self, z: Tensor, x: Tensor, eps: Tensor, apart: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        size = [max(1, n // 2) for n in z.shape[-2:]]
        smaller = [n * step for n, step in zip(size, self.stride[-2:], strict=True)]
        return apart(_resized(z, size), _resized(x, smaller))


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """``(B, C, ..., H, W)`` to another height and width, each value a mean."""
    flat = F.adaptive_avg_pool2d(x.flatten(0, -3)[:, None], (int(size[0]), int(size[1])))
    return flat[:, 0].unflatten(0, x.shape[:-2])
