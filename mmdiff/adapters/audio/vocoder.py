"""Log-mel spectrograms back to waveforms; Griffin-Lim needs no weights.

    X <- X * A^T (M / (A X)) / A^T 1                  mel inversion, KL divergence (Lee & Seung 2001)
    c <- STFT(mirror(ISTFT(X e^(i phi))))             projection on consistent spectra (Griffin & Lim 1984)
    phi <- angle(c_n - m / (1 + m) c_(n-1))           fast Griffin-Lim, momentum m (Perraudin et al. 2013)

The multiplicative update keeps X >= 0, where the pseudo-inverse of A does not, and is what makes the result good.
``mirror`` repeats at both ends what the analysis did there; without it the first and last frames drift.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from .mel import MelSpec, agreeing, mirror, overlap_add


class Vocoder(nn.Module, ABC):
    """Log-mel ``(B, n_mels, T)`` to waveforms ``(B, 1, mel.samples(T))``; item i depends on row i alone."""

    mel: MelSpec | None
    """The settings it was made for; None where any will do."""

    def ready(self) -> None:
        """Raise ``ValueError`` with the remedy where weights are missing."""

    def for_mel(self, mel: MelSpec) -> "Vocoder":
        """The vocoder for these settings; ``ValueError`` names both where they differ from its own."""
        if self.mel is not None and (difference := self.mel.difference(mel)):
            raise ValueError(
                f"{type(self).__name__} was made for other mel settings than the codec ({difference}): it was made for "
                f"{self.mel}, the codec has {mel}. Choose adapter.codec.mel to match, or another vocoder."
            )
        return self

    @abstractmethod
    def forward(self, log_mel: Tensor) -> Tensor:
        """Waveforms, float32, not limited to [-1, 1]."""


class GriffinLim(Vocoder):
    """Mel inversion, then fast Griffin-Lim from a fixed random phase.

    ``mel`` None takes the settings of the codec it is given to. ``momentum`` 0 is the plain algorithm.
    """

    window: Tensor
    basis: Tensor

    def __init__(
        self, mel: MelSpec | None = None, *, n_iter: int = 32, momentum: float = 0.99, inversion_iter: int = 50,
        seed: int = 0,
    ):
        super().__init__()
        if n_iter < 1 or inversion_iter < 1 or momentum < 0:
            raise ValueError(
                f"need n_iter >= 1, inversion_iter >= 1 and momentum >= 0, got {n_iter}, {inversion_iter}, {momentum}"
            )
        self.mel, self.seed = mel, seed
        self.n_iter, self.momentum, self.inversion_iter = n_iter, momentum, inversion_iter
        if mel is not None:
            self.register_buffer("window", mel.window(), persistent=False)
            self.register_buffer("basis", mel.basis(), persistent=False)

    def for_mel(self, mel: MelSpec) -> Vocoder:
        if self.mel is not None:
            return super().for_mel(mel)
        return GriffinLim(
            mel, n_iter=self.n_iter, momentum=self.momentum, inversion_iter=self.inversion_iter, seed=self.seed
        )

    @property
    def _settings(self) -> MelSpec:
        if self.mel is None:
            raise ValueError("GriffinLim has no mel settings: give it some, or give it to a MelCodec")
        return self.mel

    def forward(self, log_mel: Tensor) -> Tensor:
        frames, start = log_mel.shape[-1], self._settings.left
        size = self._settings.samples(frames)
        magnitude = self.invert(log_mel.float().exp())                # (B, F, T)
        weight = overlap_add(self.window.square()[:, None].expand(-1, frames)[None], self._settings.hop_length)
        weight = weight.clamp(min=1e-8)                               # the window is 0 at its very start
        position = torch.arange(weight.shape[1], device=log_mel.device) - start
        mirrored = start + mirror(position, torch.tensor(size, device=log_mel.device))
        spectrum = torch.polar(magnitude, self._first_phase(frames).to(magnitude).expand_as(magnitude))
        previous = torch.zeros_like(spectrum)
        for _ in range(self.n_iter):
            consistent = self._stft(self._istft(spectrum, weight)[:, mirrored])
            ahead = consistent - self.momentum / (1 + self.momentum) * previous
            # not torch.sgn: its vector and scalar paths round differently, so an item would depend on its batch
            length = (ahead.real.square() + ahead.imag.square()).clamp(min=1e-24).sqrt()
            spectrum, previous = ahead * (magnitude / length), consistent
        return self._istft(spectrum, weight)[:, None, start : start + size]

    def invert(self, mel: Tensor) -> Tensor:
        """Mel ``(B, n_mels, T)`` to magnitudes ``(B, F, T)`` >= 0 with ``basis @ result`` near ``mel``."""
        reached = (self.basis.sum(0) > 0).to(mel)[:, None]            # bins that no filter reaches are 0
        x = agreeing(reached.expand(len(mel), -1, mel.shape[-1]), mel, self.basis, iterations=self.inversion_iter)
        power = self._settings.power
        return x if power == 1 else x ** (1 / power)

    def _first_phase(self, frames: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        turns = torch.rand(frames, self.basis.shape[1], generator=generator)
        return 2 * torch.pi * turns.T                                 # one for all: no item sees its neighbours

    def _stft(self, padded: Tensor) -> Tensor:
        mel = self._settings
        return torch.stft(padded, mel.n_fft, mel.hop_length, window=self.window, center=False, return_complex=True)

    def _istft(self, spectrum: Tensor, weight: Tensor) -> Tensor:
        # of rows that lie together: along other axes the library's rounding hangs on how many items there are
        pieces = torch.fft.irfft(spectrum.mT.contiguous(), n=self._settings.n_fft).mT * self.window[:, None]
        return overlap_add(pieces, self._settings.hop_length) / weight
