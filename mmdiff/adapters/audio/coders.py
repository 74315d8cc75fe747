"""Sound to latents and back: a vocoder for the log-mel spectrograms of any preset, and an autoencoder of waveforms.

    vocoder    fixed log-mel -> ConvNeXt -> (log magnitude - smooth, phase) of every frame -> overlapping windows added
               -> spectrum of that wave, its magnitudes multiplied to have the log-mel -> overlapping windows added
    waves      strided convolutions with snake activations, both ways

``smooth`` is the log-mel itself, drawn through the bins of a spectrum: harmonics and phase are left to be learned. The
second line is done ``corrections`` times where a vocoder is used, not where it learns: levels are then those that were
asked for, as Griffin-Lim has them.
(Siuzdak 2024, Vocos: the network works at the rate of frames alone, so it is much quicker than one that works at that
of samples.)
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor, nn

from ...nn.waves import ConvNeXt, wave_decoder, wave_encoder
from ..base import Codec, Count
from ..coder import GridCoder
from .mel import LogMel, MelSpec, agreeing, mirror, overlap_add

LOUDEST = 1e2
"""The greatest magnitude of a bin, relative to a full-scale sine's over its window."""
MULTIPLIED = 5
"""Steps by which magnitudes are brought to have a log-mel."""
MOST = 10.0
"""By how much a magnitude is multiplied or divided, at most: 20 dB."""


class _Mels(nn.Module):
    """Waveforms ``(B, 1, L)``, whole, to log-mel."""

    def __init__(self, mel: MelSpec):
        super().__init__()
        self.log_mel = LogMel(mel)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.log_mel(x[:, 0], x.new_full((len(x),), x.shape[-1], dtype=torch.int64))


class _Frames(nn.Module):
    """Log-mel ``(B, n_mels, T)`` to waveforms ``(B, 1, T hop)``."""

    window: Tensor
    basis: Tensor
    envelope_matrix: Tensor
    level: Tensor

    def __init__(self, mel: MelSpec, *, width: int, depth: int, corrections: int):
        super().__init__()
        self.mel, self.network = mel, ConvNeXt(mel.n_mels, mel.n_fft + 2, width=width, depth=depth)
        self.corrections, (envelope_matrix, level) = corrections, envelope(mel)
        buffers = {"window": mel.window(), "basis": mel.basis(), "envelope_matrix": envelope_matrix, "level": level}
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, log_mel: Tensor) -> Tensor:
        log_mel = log_mel.float().clamp(min=self.mel.log_floor)
        found = self.network(log_mel)
        with torch.autocast(log_mel.device.type, enabled=False):
            return self._wave(log_mel, found.float())

    def _wave(self, log_mel: Tensor, found: Tensor) -> Tensor:
        change, phase = found.chunk(2, 1)
        log_magnitude = self.envelope_matrix @ log_mel + self.level + change
        wave = self._added(torch.polar(log_magnitude.exp().clamp(max=LOUDEST * self.mel.n_fft), phase))
        start, size = self.mel.left, self.mel.samples(log_mel.shape[-1])
        position = torch.arange(wave.shape[1], device=wave.device) - start
        mirrored = start + mirror(position, torch.tensor(size, device=wave.device))
        for _ in range(0 if self.training else self.corrections):     # what leans on them is learned less well
            spectrum = torch.stft(wave[:, mirrored], self.mel.n_fft, self.mel.hop_length, window=self.window,
                                  center=False, return_complex=True)
            wave = self._added(spectrum * self._gain(spectrum.abs(), log_mel))
        return wave[:, None, start : start + size]

    def _gain(self, magnitude: Tensor, log_mel: Tensor) -> Tensor:
        """What magnitudes ``(B, F, T)`` are multiplied with to have the log-mel."""
        x = magnitude.clamp(min=1e-8) ** self.mel.power
        gain = agreeing(x, log_mel.exp(), self.basis, iterations=MULTIPLIED) / x
        return (gain ** (1 / self.mel.power)).clamp(1 / MOST, MOST)

    def _added(self, spectrum: Tensor) -> Tensor:
        """The wave ``(B, (T - 1) hop + n_fft)`` of the windows of a spectrum ``(B, F, T)``."""
        pieces = torch.fft.irfft(spectrum.mT, n=self.mel.n_fft).mT * self.window[:, None]
        weight = self.window.square()[:, None].expand(-1, spectrum.shape[-1])[None]
        return overlap_add(pieces, self.mel.hop_length) / overlap_add(weight, self.mel.hop_length).clamp(min=1e-3)


def envelope(mel: MelSpec) -> tuple[Tensor, Tensor]:
    """A ``(F, n_mels)`` and b ``(F, 1)``: A log-mel + b is the log magnitude of a spectrum that is even in each band.

    A bin has the bands that reach it, by their share of it; one that none reaches is at the floor.
    """
    basis = mel.basis()                                               # (n_mels, F)
    reached = (basis / basis.amax(1, keepdim=True).clamp(min=1e-12)).T
    total = reached.sum(1, keepdim=True)                              # (F, 1)
    shares = reached / total.clamp(min=1e-12)
    level = torch.where(total > 0, -shares @ basis.sum(1).clamp(min=1e-12).log()[:, None], mel.log_floor)
    return shares / mel.power, level / mel.power


class VocoderCoder(GridCoder):
    """Log-mel spectrograms of ``mel``, which nothing learns, and a decoder of ``depth`` blocks of ``width`` channels
    with ``corrections`` of its levels.

    ``mel`` is a preset's name or the settings themselves.
    """

    encodes = False

    def __init__(
        self, mel: str | MelSpec = "speech_8k", *, width: Count = 192, depth: Count = 6,
        corrections: Annotated[int, Ge(0)] = 2, chunk: Count = 1024,
    ):
        super().__init__()
        self.mel = MelSpec.named(mel) if isinstance(mel, str) else mel
        self.width, self.depth, self.chunk = width, depth, chunk
        self.stride, self.fixed = (self.mel.hop_length,), self.mel.n_mels
        self.corrections, sight = corrections, -(-self.mel.n_fft // self.mel.hop_length)
        reach = 3 * (depth + 1) + (1 + corrections) * sight
        self.reach = (reach, reach)
        self.sight = (sight, sight)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"spectrum": self.mel}

    def check(self, base: Codec) -> None:
        if (rate := base.reading.get("sample_rate")) != self.mel.sample_rate:
            raise ValueError(f"these mel settings are of {self.mel.sample_rate} Hz, and samples are of {rate}: say "
                             f"adapter.codec.base.sample_rate={self.mel.sample_rate}, or choose others")

    def make(self, channels: int, latent: int, moments: int) -> None:
        if channels != 1 or moments != 1:
            raise ValueError("log-mel spectrograms are of one channel of sound (base.channels=1), and no bottleneck "
                             "draws them: use mmdiff.adapters.bottlenecks.Plain")
        self.encoder = _Mels(self.mel)
        self.decoder = _Frames(self.mel, width=self.width, depth=self.depth, corrections=self.corrections)

    def groups(self, latent: int) -> dict[str, int]:
        """One deviation for all bands: those that hold only the floor have none of their own."""
        return {"frames of sound": latent}

    def _continued(self, x: Tensor) -> Tensor:
        return x                                                      # a spectrogram mirrors the end itself


class WaveCoder(GridCoder):
    """Strided convolutions over a waveform: ``strides`` of which each makes it so many times shorter, with ``width``
    channels times ``multipliers`` after each."""

    def __init__(
        self, *, strides: Sequence[int] = (2, 4, 8), width: Count = 16, multipliers: Sequence[int] = (1, 2, 4),
        chunk: Count = 1024,
    ):
        super().__init__()
        if len(strides) != len(multipliers) or not strides or min(strides) < 2:
            raise ValueError("strides are whole numbers of 2 or more, with as many multipliers; got "
                             f"{list(strides)} and {list(multipliers)}")
        self.strides, self.widths, self.chunk = tuple(strides), [width * m for m in multipliers], chunk
        self.stride, reach = (math.prod(strides),), 3.0
        for stride in self.strides:                                   # from samples to latents, in steps of each level
            reach = (reach + 13 + stride) / stride + 1
        self.reach = (math.ceil(reach) + 2, math.ceil(reach) + 2)
        seen, step = 3, 1                                             # samples on either side, then those of a level
        for stride in self.strides:
            seen, step = seen + (13 + 2 * stride) * step, step * stride
        self.sight = (2 + seen // step, 2 + seen // step)

    def make(self, channels: int, latent: int, moments: int) -> None:
        self.encoder = wave_encoder(channels, moments * latent, self.widths, self.strides)
        self.decoder = wave_decoder(latent, channels, self.widths, self.strides)
