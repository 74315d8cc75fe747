"""Waveforms to whitened log-mel spectrograms and back through a vocoder.

    latent = (log-mel - mean) / std,      over every real frame of the training set: a mean a band, one std for all

One std, as bands that hold only the floor (speech sampled at 8 kHz, seen at 22 kHz) have no variance to divide by.
Frame k is real where it starts inside the clip: k hop < length.
"""

import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.types import Masked
from ..attacks import Attack
from ..base import Amount
from ..judge import Judge
from ..whitened import WhitenedCodec
from .attacks import attacks
from .io import WRITTEN, AudioReader, write_audio
from .judge import AudioJudge
from .limiter import limit
from .mel import LogMel, MelSpec
from .pictures import contact_sheet
from .vocoder import GriffinLim, Vocoder


class MelCodec(WhitenedCodec):
    """Samples ``(B, 1, L)`` in [-1, 1] <-> latents ``(B, n_mels, T)``. Masks are prefixes: padding comes last.

    ``mel`` is a preset's name or the settings themselves; a vocoder made for others is refused. A vocoder's sound may
    be beyond full scale: ``finished`` limits it.
    """

    suffix = ".wav"
    incidental = ("vocoder",)

    def __init__(self, mel: str | MelSpec = "speech_8k", vocoder: Vocoder | None = None):
        spec = MelSpec.named(mel) if isinstance(mel, str) else mel
        super().__init__(spec.n_mels, groups={"frames of sound": spec.n_mels})
        self.mel = spec
        self.log_mel = LogMel(self.mel)
        self.vocoder = (vocoder or GriffinLim()).made_for(self.mel)

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

    @torch.no_grad()
    def decode(self, latents: Masked) -> Masked:
        with torch.autocast(latents.x.device.type, enabled=False):
            return self._synthesise(*self.unwhiten(latents))

    def _synthesise(self, log_mel: Tensor, mask: Tensor | None) -> Masked:
        log_mel = log_mel.clamp(min=self.mel.log_floor)
        if mask is None:
            return Masked(self.vocoder(log_mel))
        lengths = mask[:, 0].sum(-1).tolist()
        out = log_mel.new_zeros(len(log_mel), 1, self.mel.samples(log_mel.shape[-1]))
        for i, frames in enumerate(lengths):                          # alone: a vocoder looks beyond the last frame
            if frames:
                out[i, :, : self.mel.samples(frames)] = self.vocoder(log_mel[i : i + 1, :, :frames])[0]
        return Masked(out, mask.repeat_interleave(self.mel.hop_length, -1))

    def finished(self, sample: Tensor) -> tuple[Tensor, dict[str, float]]:
        return limit(sample, self.sample_rate)

    def latent_shape(self, *, seconds: Amount) -> tuple[int]:
        """``(T,)`` frames; they last ``seconds`` or up to one hop longer."""
        if not 0 < seconds < math.inf:
            raise ValueError(f"seconds must be positive, got {seconds}")
        return (self.mel.frames(max(1, round(seconds * self.sample_rate))),)

    def size(self, sample: Tensor) -> dict[str, float]:
        return {"seconds": sample.shape[-1] / self.sample_rate}

    def measure(self, features: Iterable[Masked]) -> None:
        self.vocoder.ready()
        super().measure(features)

    def save(self, sample: Tensor, path: Path) -> Path:
        if cut := write_audio(sample, path, self.sample_rate):
            warnings.warn(f"{path}: {cut} samples were beyond full scale and are cut", stacklevel=2)
        return Path(path)

    def endings(self, **options: Any) -> tuple[str, ...]:
        return WRITTEN

    def load(self, path: Path, **size: float) -> Tensor:
        return AudioReader(self.sample_rate).read(path)

    def judge(self) -> Judge:
        return AudioJudge()

    def attacks(self) -> dict[str, Attack]:
        return attacks(self.sample_rate, self.mel.hop_length)

    @torch.no_grad()
    def preview(self, samples: list[Tensor], titles: list[str], path: Path) -> Path:
        pictures = [self.features(Masked(s[None].to(self.mean.device))).x[0].cpu() for s in samples]
        return contact_sheet(pictures, [s[0].cpu() for s in samples], titles, path, mel=self.mel)
