"""Sound to latents and back: a vocoder for the log-mel spectrograms of any preset, and an autoencoder of waveforms.

    vocoder    fixed log-mel -> ConvNeXt -> (log magnitude - smooth, phase) of every frame -> overlapping windows added
    waves      strided convolutions with snake activations, both ways

``smooth`` is the log-mel itself, drawn through the bins of a spectrum: harmonics and phase are left to be learned.
(Siuzdak 2024, Vocos: the network works at the rate of frames alone, so it is much quicker than one that works at that
of samples.)
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...nn.waves import ConvNeXt, wave_decoder, wave_encoder
from ..base import Codec, Count
from ..coder import GridCoder
from .mel import LogMel, MelSpec, overlap_add

LOUDEST = 1e2
"""The greatest magnitude of a bin, relative to a full-scale sine's over its window."""


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
    envelope_matrix: Tensor
    level: Tensor

    def __init__(self, mel: MelSpec, *, width: int, depth: int):
        super().__init__()
        self.mel, self.network = mel, ConvNeXt(mel.n_mels, mel.n_fft + 2, width=width, depth=depth)
        envelope_matrix, level = envelope(mel)
        for name, value in (("window", mel.window()), ("envelope_matrix", envelope_matrix), ("level", level)):
            self.register_buffer(name, value, persistent=False)

    def forward(self, log_mel: Tensor) -> Tensor:
        log_mel = log_mel.float().clamp(min=self.mel.log_floor)
        found = self.network(log_mel)
        with torch.autocast(log_mel.device.type, enabled=False):
            return self._wave(log_mel, found)

    def _wave(self, log_mel: Tensor, found: Tensor) -> Tensor:
        change, phase = found.chunk(2, 1)
        log_magnitude = self.envelope_matrix @ log_mel + self.level + change
        spectrum = torch.polar(log_magnitude.exp().clamp(max=LOUDEST * self.mel.n_fft), phase)
        pieces = torch.fft.irfft(spectrum.mT, n=self.mel.n_fft).mT * self.window[:, None]
        weight = overlap_add(self.window.square()[:, None].expand(-1, log_mel.shape[-1])[None], self.mel.hop_length)
        wave = overlap_add(pieces, self.mel.hop_length) / weight.clamp(min=1e-3)
        start = self.mel.left
        return wave[:, None, start : start + self.mel.samples(log_mel.shape[-1])]


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
    """Log-mel spectrograms of ``mel``, which nothing learns, and a decoder of ``depth`` blocks of ``width`` channels.

    ``mel`` is a preset's name or the settings themselves.
    """

    def __init__(self, mel: str | MelSpec = "speech_8k", *, width: Count = 192, depth: Count = 6, chunk: Count = 1024):
        super().__init__()
        self.mel = MelSpec.named(mel) if isinstance(mel, str) else mel
        self.width, self.depth, self.chunk = width, depth, chunk
        self.stride, self.fixed = (self.mel.hop_length,), self.mel.n_mels
        reach = 3 * (depth + 1) + -(-self.mel.n_fft // self.mel.hop_length)
        self.reach, sight = (reach, reach), -(-self.mel.n_fft // self.mel.hop_length)
        self.sight = (sight, sight)

    def check(self, base: Codec) -> None:
        if (rate := base.reading.get("sample_rate")) != self.mel.sample_rate:
            raise ValueError(f"these mel settings are of {self.mel.sample_rate} Hz, and samples are of {rate}: say "
                             f"adapter.codec.base.sample_rate={self.mel.sample_rate}, or choose others")

    def make(self, channels: int, latent: int, moments: int) -> None:
        if channels != 1 or moments != 1:
            raise ValueError("log-mel spectrograms are of one channel of sound (base.channels=1), and no bottleneck "
                             "draws them: use mmdiff.adapters.bottlenecks.Plain")
        self.encoder = _Mels(self.mel)
        self.decoder = _Frames(self.mel, width=self.width, depth=self.depth)

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
