"""What is asked of a latent so that it is easier to generate, such as that a changed one decodes to a changed sample.

    Noisy        D(z + s |z| eps) is to be x                         a diffusion model leaves some noise
    Scaled       D(half the size of z) is to be half the size of x   no channel may hide fine detail in a pattern of its
                                                                     own (Kouzelis et al. 2025, EQ-VAE, eq. 5)
    HalfShifted  D((1 - f) z_i + f z_(i+1)) is to be x, f s later    between two latents is what lies between what they
                 s = stride, f = floor(s / 2) / s                    tell of (after Zhou et al. 2025, AF-LDM)
    Spectral     D(low half of the frequencies of z) is to be that   coarse things are told by coarse patterns
                 of the frequencies of x                             (after Skorokhodov et al. 2025)

Each costs one more decoding a step. By a whole stride nothing has to be asked for: convolutions move along with what
they see, but for what is at a border.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Amount, Codec
from .coder import Coder


class LatentTask(nn.Module, ABC):
    """A term of a codec's loss, times ``weight``. What learns in it learns with the codec, and is in no model file."""

    digest: str = ""
    """As that of ``ReconstructionLoss``."""

    def __init__(self, *, weight: Amount = 1.0):
        super().__init__()
        self.weight = weight

    @abstractmethod
    def make(self, latent: int, coder: Coder) -> None:
        """Make its layers for a latent of so many channels. Raise ``ValueError`` where latents of ``coder`` cannot be
        asked so."""

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

    def make(self, latent: int, coder: Coder) -> None:
        """Nothing: any will do."""

    def forward(self, z: Tensor, x: Tensor, eps: Tensor, apart: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        size = z.detach().flatten(2).square().mean(2).sqrt()
        return apart(z + self.noise * size.view(*z.shape[:2], *(1,) * (z.ndim - 2)) * eps, x)


class Scaled(LatentTask):
    """Half of the height and width, by means."""

    def make(self, latent: int, coder: Coder) -> None:
        if len(coder.stride) < 2:
            raise ValueError("Scaled halves height and width, and these latents have none: leave it out")
        self.stride = coder.stride

    def forward(self, z: Tensor, x: Tensor, eps: Tensor, apart: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        size = [max(1, n // 2) for n in z.shape[-2:]]
        smaller = [n * step for n, step in zip(size, self.stride[-2:], strict=True)]
        return apart(_resized(z, size), _resized(x, smaller))


class _Along(LatentTask):
    """Of every axis of a grid along which all latents tell of as many positions: in a causal one the first does not."""

    def make(self, latent: int, coder: Coder) -> None:
        self.steps = coder.stride[1 if coder.causal else 0 :]
        if not self.steps:
            raise ValueError(f"{type(self).__name__} is of latents that lie beside each other along an axis that is "
                             "not causal, and these have none: leave it out")

    def _axes(self, z: Tensor) -> Iterator[tuple[int, int]]:
        """The axes along which there are several latents, each with its stride."""
        found = [(axis, step) for axis, step in enumerate(self.steps, z.ndim - len(self.steps)) if z.shape[axis] > 1]
        if not found:
            raise ValueError(f"{type(self).__name__} needs two latents along an axis, and these are of one position: "
                             "take larger samples, or leave it out")
        yield from found


class HalfShifted(_Along):
    """Half a stride further, along every axis: a mean of neighbours decodes to what lies between them."""

    def make(self, latent: int, coder: Coder) -> None:
        super().make(latent, coder)
        if max(self.steps) == 1:
            raise ValueError("HalfShifted moves by less than a stride, and that of these latents is 1: leave it out")

    def forward(self, z: Tensor, x: Tensor, eps: Tensor, apart: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        for axis, step in self._axes(z):
            count, by = z.shape[axis] - 1, step // 2
            z = torch.lerp(z.narrow(axis, 0, count), z.narrow(axis, 1, count), by / step)
            x = x.narrow(axis, by, min(count * step, x.shape[axis] - by))
        return apart(z, x)


class Spectral(_Along):
    """The lower half of the frequencies along every axis, of samples and latents by the same cosine transform."""

    def forward(self, z: Tensor, x: Tensor, eps: Tensor, apart: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        for axis, _ in self._axes(z):
            z, x = _low(z, axis), _low(x, axis)
        return apart(z, x)


def _low(x: Tensor, axis: int) -> Tensor:
    """The lower half of the cosines (DCT-II) along an axis: of n, the first ceil(n / 2)."""
    n = x.shape[axis]
    spectrum = torch.fft.rfft(torch.cat([x, x.flip(axis)], axis).float(), dim=axis)    # mirrored: cosines alone
    kept = torch.arange(n + 1, device=x.device) < (n + 1) // 2
    spectrum = spectrum * kept.view(-1, *(1,) * (x.ndim - 1 - axis))
    return torch.fft.irfft(spectrum, 2 * n, dim=axis).narrow(axis, 0, n)


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """``(B, C, ..., H, W)`` to another height and width, each value a mean."""
    flat = F.adaptive_avg_pool2d(x.flatten(0, -3)[:, None], (int(size[0]), int(size[1])))
    return flat[:, 0].unflatten(0, x.shape[:-2])
