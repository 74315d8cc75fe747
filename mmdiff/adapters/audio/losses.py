"""How far a sound is from another, as training asks: at several resolutions, in level and in phase.

    LogSpectral   mean over windows of mean |ln max(|Y|, f) - ln max(|X|, f)|        X, Y: short-time spectra
    Convergence   mean over windows of ||Y| - |X|| / ||X||                           what is loud must be as loud
    Phase         mean over windows of sum |X| (1 - cos(arg Y - arg X)) / sum |X|    what is loud must be in phase
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from ...core.types import Masked
from ..reconstruction import Factor, ReconstructionLoss


class SpectralLoss(ReconstructionLoss):
    """A mean over ``windows`` (samples each, powers of two), a quarter of a window apart."""

    def __init__(self, *, windows: Sequence[int] = (128, 256, 512, 1024), weight: Factor = 1.0):
        super().__init__(weight=weight)
        if not windows or any(n < 4 for n in windows):
            raise ValueError(f"windows are numbers of samples, 4 or more, got {list(windows)}")
        self.windows = tuple(windows)

    def check(self, axes: int) -> None:
        if axes != 1:
            raise ValueError(f"{type(self).__name__} compares sounds, along one axis, and these samples have "
                             f"{axes or 'none'}: leave it out, or take the reconstruction= of their modality")

    @abstractmethod
    def compared(self, output: Tensor, real: Tensor) -> Tensor:
        """``(B,)`` of complex spectra ``(B, F, T)``."""

    def __call__(self, output: Masked, real: Masked) -> Tensor:
        pair = [part.x if real.mask is None else torch.where(real.mask, part.x, 0) for part in (output, real)]
        fitting = [n for n in self.windows if n <= real.x.shape[-1]] or [min(self.windows)]
        apart = [self.compared(*(_spectrum(x.flatten(0, 1), n) for x in pair)) for n in fitting]    # of each channel
        return torch.stack(apart).mean(0).unflatten(0, real.x.shape[:2]).mean(1)


class LogSpectral(SpectralLoss):
    """Levels in nepers, floored ``floor`` times full scale."""

    floor = 1e-4

    def compared(self, output: Tensor, real: Tensor) -> Tensor:
        levels = [_size(x).clamp(min=self.floor).log() for x in (output, real)]
        return (levels[0] - levels[1]).abs().flatten(1).mean(1)


class Convergence(SpectralLoss):
    """Levels of what is loud, where a logarithm hears a quiet hiss as well (Yamamoto et al. 2020, eq. 4)."""

    def compared(self, output: Tensor, real: Tensor) -> Tensor:
        levels = [_size(x).flatten(1) for x in (output, real)]
        error, loud = ((x.square().mean(1) + 1e-12).sqrt() for x in (levels[0] - levels[1], levels[1]))
        return error / loud.clamp(min=1e-3)                           # what is nearly silent has no say


class Phase(SpectralLoss):
    """From 0, in phase, to 2, opposite."""

    def compared(self, output: Tensor, real: Tensor) -> Tensor:
        loud = _size(real)
        apart = 1 - (output * real.conj()).real / (_size(output) * loud).clamp(min=1e-8)
        return (loud * apart).flatten(1).sum(1) / loud.flatten(1).sum(1).clamp(min=1e-8)


def _spectrum(x: Tensor, window: int) -> Tensor:
    """Of a full-scale sine the greatest bin is about 1."""
    hann = torch.hann_window(window, device=x.device)
    found = torch.stft(x, window, window // 4, window=hann, pad_mode="constant", return_complex=True)
    return found * (2 / hann.sum())


def _size(x: Tensor) -> Tensor:
    """|x|, with a gradient at 0."""
    return (x.real.square() + x.imag.square() + 1e-16).sqrt()
