"""Waveforms to whitened log-mel spectrograms and back through a vocoder.

    latent = (log-mel - mean) / std,      mean and std over every real frame and band of the training set

One mean and one std, not one a band: a band's level against its neighbours is part of the sound, and bands that hold
only the floor (speech sampled at 8 kHz, seen at 22 kHz) have no variance to divide by.
Frame k is real where it starts inside the clip: k hop < length.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.types import Masked
from ..base import Amount, Codec
from ..judge import Judge
from .io import WRITTEN, AudioReader, write_audio
from .judge import AudioJudge
from .mel import LogMel, MelSpec
from .pictures import contact_sheet
from .vocoder import GriffinLim, Vocoder


class MelCodec(Codec):
    """Samples ``(B, 1, L)`` in [-1, 1] <-> latents ``(B, n_mels, T)``. Masks are prefixes: padding comes last.

    ``mel`` is a preset's name or the settings themselves; a vocoder made for others is refused.
    """

    suffix = ".wav"
    incidental = ("vocoder",)
    mean: Tensor
    std: Tensor

    def __init__(self, mel: str | MelSpec = "speech_8k", vocoder: Vocoder | None = None):
        super().__init__()
        self.mel = MelSpec.named(mel) if isinstance(mel, str) else mel
        self.log_mel = LogMel(self.mel)
        self.vocoder = (vocoder or GriffinLim()).made_for(self.mel)
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(1.0))
        self.channels = self.mel.n_mels

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.mel.sample_rate

    @property
    def reading(self) -> dict[str, Any]:
        return {"sample_rate": self.sample_rate}

    def features(self, samples: Masked) -> Masked:
        """Log-mel ``(B, n_mels, T)`` and the mask of its frames."""
        x, mask = samples
        lengths = x.new_full((len(x),), x.shape[-1], dtype=torch.int64) if mask is None else mask[:, 0].sum(-1)
        with torch.autocast(x.device.type, enabled=False):
            log_mel = self.log_mel(x[:, 0].float(), lengths)
        return Masked(log_mel, None if mask is None else mask[:, :, :: self.mel.hop_length])

    def whiten(self, features: Masked) -> Masked:
        log_mel, mask = features
        x = (log_mel - self.mean) / self.std
        return Masked(x if mask is None else torch.where(mask, x, 0), mask)

    @torch.no_grad()
    def decode(self, latents: Masked) -> Masked:
        x, mask = latents
        with torch.autocast(x.device.type, enabled=False):
            return self._synthesise(x, mask)

    def _synthesise(self, x: Tensor, mask: Tensor | None) -> Masked:
        log_mel = (x.float() * self.std + self.mean).clamp(min=self.mel.log_floor)
        if mask is None:
            return Masked(self.vocoder(log_mel))
        lengths = mask[:, 0].sum(-1).tolist()
        out = log_mel.new_zeros(len(x), 1, self.mel.samples(x.shape[-1]))
        for i, frames in enumerate(lengths):                          # alone: a vocoder looks beyond the last frame
            if frames:
                out[i, :, : self.mel.samples(frames)] = self.vocoder(log_mel[i : i + 1, :, :frames])[0]
        return Masked(out, mask.repeat_interleave(self.mel.hop_length, -1))

    def latent_shape(self, *, seconds: Amount) -> tuple[int]:
        """``(T,)`` frames; they last ``seconds`` or up to one hop longer."""
        if not 0 < seconds < math.inf:
            raise ValueError(f"seconds must be positive, got {seconds}")
        return (self.mel.frames(max(1, round(seconds * self.sample_rate))),)

    def size(self, sample: Tensor) -> dict[str, float]:
        return {"seconds": sample.shape[-1] / self.sample_rate}

    @torch.no_grad()
    def measure(self, features: Iterable[Masked]) -> None:
        """Measure mean and std. Raises ``ValueError`` where there is nothing, or nothing but silence, to measure."""
        self.vocoder.ready()
        total = torch.zeros(3, dtype=torch.float64)                   # count, sum, sum of squares
        for log_mel, mask in features:
            values = log_mel if mask is None else log_mel[mask.expand_as(log_mel)]
            values = values.double().cpu()
            total += torch.stack([torch.tensor(values.numel()), values.sum(), values.square().sum()])
        count, first, second = total.tolist()
        variance = second / count - (first / count) ** 2 if count else 0
        if variance < 1e-6:
            raise ValueError("whitening needs sound: the training set holds no frames, or only silence")
        self.mean.fill_(first / count)
        self.std.fill_(math.sqrt(variance))

    def save(self, sample: Tensor, path: Path) -> Path:
        write_audio(sample, path, self.sample_rate)
        return Path(path)

    def endings(self, **options: Any) -> tuple[str, ...]:
        return WRITTEN

    def load(self, path: Path, **size: float) -> Tensor:
        return AudioReader(self.sample_rate).read(path)

    def judge(self) -> Judge:
        return AudioJudge()

    @torch.no_grad()
    def preview(self, samples: list[Tensor], titles: list[str], path: Path) -> Path:
        pictures = [self.features(Masked(s[None].to(self.mean.device))).x[0].cpu() for s in samples]
        return contact_sheet(pictures, [s[0].cpu() for s in samples], titles, path, mel=self.mel)
