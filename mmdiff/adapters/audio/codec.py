"""Waveforms to whitened log-mel spectrograms and back through a vocoder.

    latent = (log-mel - mean) / std,      over every real frame of the training set: a mean a band, one std for all

One std, as bands that hold only the floor (speech sampled at 8 kHz, seen at 22 kHz) have no variance to divide by.
Frame k is real where it starts inside the clip: k hop < length.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...core.types import Masked
from ..base import Amount
from .mel import MelSpec
from .sound import SoundCodec
from .vocoder import GriffinLim, Vocoder


class MelCodec(SoundCodec):
    """Samples ``(B, 1, L)`` in [-1, 1] <-> latents ``(B, n_mels, T)``. Masks are prefixes: padding comes last.

    ``mel`` is a preset's name or the settings themselves; a vocoder made for others is refused. A vocoder's sound may
    be beyond full scale: ``finished`` limits it.
    """

    incidental = ("vocoder",)

    def __init__(self, mel: str | MelSpec = "speech_8k", vocoder: Vocoder | None = None):
        spec = MelSpec.named(mel) if isinstance(mel, str) else mel
        super().__init__(spec.n_mels, spec, groups={"frames of sound": spec.n_mels})
        self.vocoder = (vocoder or GriffinLim()).for_mel(spec)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"spectrum": self.mel}

    def features(self, samples: Masked) -> Masked:
        """Log-mel ``(B, n_mels, T)`` and the mask of its frames."""
        return self.log_mels(samples)

    def compared(self, samples: Masked) -> Tensor:
        return self.encode(samples).x

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

    def latent_shape(self, *, seconds: Amount) -> tuple[int]:
        """``(T,)`` frames; they last ``seconds`` or up to one hop longer."""
        return (self.mel.frames(self.positions(seconds)),)

    def measure(self, features: Iterable[Masked]) -> None:
        self.vocoder.ready()
        super().measure(features)
