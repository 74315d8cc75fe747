"""What all codecs of sound share: files, levels, pictures, the judge; and waveforms as they are."""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ...core.types import Masked
from ..attacks import Attack
from ..base import Amount, Count
from ..judge import Judge
from ..whitened import WhitenedCodec
from .attacks import attacks
from .io import WRITTEN, AudioReader, write_audio
from .judge import AudioJudge
from .limiter import limit
from .mel import LogMel, MelSpec
from .pictures import contact_sheet


class SoundCodec(WhitenedCodec):
    """Samples ``(B, voices, L)`` in [-1, 1]; masks are prefixes: padding comes last. ``mel`` is how sounds are
    pictured, by their first channel."""

    suffix = ".wav"
    voices: int = 1
    """Channels of a sound."""

    def __init__(self, channels: int, mel: MelSpec, *, groups: Mapping[str, int]):
        super().__init__(channels, groups=groups)
        self.mel, self.log_mel = mel, LogMel(mel)

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.mel.sample_rate

    @property
    def reading(self) -> dict[str, Any]:
        return {"sample_rate": self.sample_rate, "channels": self.voices}

    def log_mels(self, samples: Masked) -> Masked:
        """Log-mel ``(B, n_mels, T)`` and the mask of its frames."""
        x, mask = samples
        lengths = x.new_full((len(x),), x.shape[-1], dtype=torch.int64) if mask is None else mask[:, 0].sum(-1)
        with torch.autocast(x.device.type, enabled=False):
            log_mel = self.log_mel(x[:, 0].float(), lengths)
        return Masked(log_mel, None if mask is None else mask[:, :, :: self.mel.hop_length])

    def compared(self, samples: Masked) -> Tensor:
        """What tells how far two sounds are from each other, ``(B, C, T)``."""
        return self.log_mels(samples).x

    def finished(self, sample: Tensor) -> tuple[Tensor, dict[str, float]]:
        return limit(sample, self.sample_rate)

    def size(self, sample: Tensor) -> dict[str, float]:
        return {"seconds": sample.shape[-1] / self.sample_rate}

    def positions(self, seconds: float) -> int:
        """Samples that last ``seconds``."""
        if not 0 < seconds < math.inf:
            raise ValueError(f"seconds must be positive, got {seconds}")
        return max(1, round(seconds * self.sample_rate))

    def save(self, sample: Tensor, path: Path) -> Path:
        if cut := write_audio(sample, path, self.sample_rate):
            warnings.warn(f"{path}: {cut} samples were beyond full scale and are cut", stacklevel=2)
        return Path(path)

    def endings(self, **options: Any) -> tuple[str, ...]:
        return WRITTEN

    def load(self, path: Path, **size: float) -> Tensor:
        return AudioReader(self.sample_rate, channels=self.voices).read(path)

    def judge(self) -> Judge:
        return AudioJudge()

    def attacks(self) -> dict[str, Attack]:
        return attacks(self.sample_rate, self.mel.hop_length)

    @torch.no_grad()
    def preview(self, samples: list[Tensor], titles: list[str], path: Path) -> Path:
        pictures = [self.log_mels(Masked(s[None].to(self.mean.device))).x[0].cpu() for s in samples]
        return contact_sheet(pictures, [s[0].cpu() for s in samples], titles, path, mel=self.mel)


class WaveCodec(SoundCodec):
    """Waveforms of ``channels`` (1 or 2) at ``sample_rate`` Hz as they are: what a learned codec works on."""

    def __init__(self, sample_rate: Count = 8000, *, channels: Literal[1, 2] = 1):
        window = 2 ** max(4, round(math.log2(0.032 * sample_rate)))
        super().__init__(channels, MelSpec(
            sample_rate=sample_rate, n_fft=window, hop_length=window // 4, n_mels=48, f_max=sample_rate / 2,
            centre="start",
        ), groups={"samples": channels})
        self.voices = channels

    def latent_shape(self, *, seconds: Amount) -> tuple[int]:
        """``(L,)``."""
        return (self.positions(seconds),)
