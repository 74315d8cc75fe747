"""Oobleck (Evans et al. 2024), a learned codec of waveforms, from a folder: the one of Stable Audio.

    latent = mean of encoder(x),      (C, L) -> (64, L / 2048)            its latents are of unit variance about 0

Where the folder has a transformer too, every sample is as long as that one's window: silence follows it, and what is
generated is cut to what was asked for.
"""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.types import Masked
from ..base import Amount
from ..public import PublicModel, each
from .mel import MelSpec
from .sound import SoundCodec


class OobleckCodec(SoundCodec):
    """The autoencoder of ``model``; ``whitening`` is the ``model``'s own (none), or ``measured`` on the training set.

    Samples are ``(B, voices, L)``, of as many channels as the model has.
    """

    public_parts, kind = ("vae",), "AutoencoderOobleck"

    def __init__(self, model: PublicModel, *, whitening: Literal["model", "measured"] = "model"):
        config = model.config("vae", self.kind)
        channels, rate = config["decoder_input_channels"], int(config["sampling_rate"])
        mel = MelSpec(sample_rate=rate, n_fft=2048, hop_length=512, n_mels=80, f_max=rate / 2)
        super().__init__(channels, mel, groups={f"latent channel {i}": 1 for i in range(channels)})
        self.model, self.identity, self.measured = model, model.digest("vae"), whitening == "measured"
        self.voices, self.downsampling = int(config["audio_channels"]), (math.prod(config["downsampling_ratios"]),)
        network = model.config("transformer") if model.has("transformer") else {}
        self.window = int(network.get("sample_size", 1))

    def vae(self, x: Tensor) -> Any:
        """The autoencoder, on the device of ``x``; no module of the codec, so that nothing copies or saves it."""
        return self.model.load("vae", self.kind).to(x.device)

    def features(self, samples: Masked) -> Masked:
        return each(samples, lambda x: self.vae(x).encode(self._filled(x)).latent_dist.mode())

    @torch.no_grad()
    def decode(self, latents: Masked) -> Masked:
        return each(self.unwhiten(latents), lambda z: self.vae(z).decode(z).sample)

    def decode_sized(self, latents: Masked, *, seconds: float) -> Masked:  # type: ignore[override]  # its own size
        made, length = self.decode(latents), self.positions(seconds)
        return Masked(made.x[..., :length], None if made.mask is None else made.mask[..., :length])

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
