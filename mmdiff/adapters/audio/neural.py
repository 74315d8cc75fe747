"""What codecs of waveforms have in common that come from a folder, with weights of somebody else.

    (voices, L) -> (C, L / r):   silence fills a sound up to a whole number of r samples, and to the model's window

Latents are continuous, also of codecs that were made to be quantized: what is decoded is then no list of codes, but
what the decoder gives for any vector. So they are whitened and limited as those of any codec.
"""

from abc import abstractmethod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.types import Masked
from ..base import Amount
from ..public import PublicModel, each, weight_bytes
from .mel import MelSpec
from .sound import SoundCodec


class NeuralCodec(SoundCodec):
    """The codec in the part of ``model`` that is of the class ``kind``: ``channels`` of a latent for ``hop`` samples
    of ``voices`` channels at ``rate`` Hz. ``whitening`` is the ``model``'s own (none), or ``measured`` on the training
    set."""

    kind: str

    def __init__(
        self, model: PublicModel, *, channels: int, rate: int, hop: int, voices: int,
        whitening: Literal["model", "measured"], window: int = 1,
    ):
        frame = 2 ** max(6, round(rate / 22).bit_length() - 1)        # 46 ms, as 2048 samples at 44.1 kHz
        mel = MelSpec(sample_rate=rate, n_fft=frame, hop_length=frame // 4, n_mels=80, f_max=rate / 2)
        super().__init__(channels, mel, groups={f"latent channel {i}": 1 for i in range(channels)})
        (self.part,) = self.public_parts
        self.model, self.identity, self.measured = model, model.digest(self.part), whitening == "measured"
        self.voices, self.downsampling, self.window = voices, (hop,), window

    @abstractmethod
    def encoded(self, network: Any, x: Tensor) -> Tensor:
        """``x`` ``(B, voices, L)`` -> ``(B, C, L / hop)``."""

    @abstractmethod
    def decoded(self, network: Any, z: Tensor) -> Tensor:
        """``z`` ``(B, C, T)`` -> ``(B, voices, T hop)``."""

    def network(self, x: Tensor) -> Any:
        """The codec, on the device of ``x``; no module of this one, so that nothing copies or saves it."""
        return self.model.load(self.part, self.kind).to(x.device)

    def frozen(self) -> dict[str, int]:
        return {"autoencoder": weight_bytes(self.model.load(self.part, self.kind))}

    def features(self, samples: Masked) -> Masked:
        return each(samples, lambda x: self.encoded(self.network(x), self._filled(x)))

    @torch.no_grad()
    def decode(self, latents: Masked) -> Masked:
        return each(self.unwhiten(latents), lambda z: self.decoded(self.network(z), z))

    def decode_sized(self, latents: Masked, *, seconds: float) -> Masked:  # type: ignore[override]  # its own size
        decoded, length = self.decode(latents), self.positions(seconds)
        return Masked(decoded.x[..., :length], None if decoded.mask is None else decoded.mask[..., :length])

    def measure(self, features: Any) -> None:
        """Measure the whitening, where it is not the model's own."""
        if self.measured:
            super().measure(features)

    def latent_shape(self, *, seconds: Amount) -> tuple[int]:
        """``(T,)``, that of the model's window at least."""
        return (max(self.window, -(-self.positions(seconds) // self.downsampling[0])),)

    def _filled(self, x: Tensor) -> Tensor:
        """``x`` ``(B, C, L)`` with as many channels as the model has, followed by silence."""
        (steps,) = self.latent_shape(seconds=x.shape[-1] / self.sample_rate)
        x = x.expand(-1, self.voices, -1) if x.shape[1] == 1 else x
        return F.pad(x, (0, steps * self.downsampling[0] - x.shape[-1]))
