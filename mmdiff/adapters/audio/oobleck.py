"""Oobleck (Evans et al. 2024), a learned codec of waveforms, from a folder: the one of Stable Audio.

    latent = mean of encoder(x),      (C, L) -> (64, L / 2048)            its latents are of unit variance about 0

Where the folder has a transformer too, every sample is as long as that one's window: silence follows it, and what is
generated is cut to what was asked for.
"""

import math
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.types import Masked
from ..attacks import Attack
from ..base import Amount
from ..judge import Judge
from ..public import PublicModel, each
from ..whitened import WhitenedCodec
from .attacks import attacks
from .io import WRITTEN, AudioReader, write_audio
from .judge import AudioJudge
from .limiter import limit
from .mel import LogMel, MelSpec
from .pictures import contact_sheet


class OobleckCodec(WhitenedCodec):
    """The autoencoder of ``model``; ``whitening`` is the ``model``'s own (none), or ``measured`` on the training set.
    """

    suffix = ".wav"
    parts, kind = ("vae",), "AutoencoderOobleck"

    def __init__(self, model: PublicModel, *, whitening: Literal["model", "measured"] = "model"):
        config = model.config("vae", self.kind)
        channels = config["decoder_input_channels"]
        super().__init__(channels, groups={f"latent channel {i}": 1 for i in range(channels)})
        self.model, self.identity, self.measured = model, model.digest("vae"), whitening == "measured"
        self.sample_rate, self.voices = int(config["sampling_rate"]), int(config["audio_channels"])
        self.downsampling = (math.prod(config["downsampling_ratios"]),)
        network = model.config("transformer") if model.has("transformer") else {}
        self.window = int(network.get("sample_size", 1))
        self.log_mel = LogMel(MelSpec(
            sample_rate=self.sample_rate, n_fft=2048, hop_length=512, n_mels=80, f_max=self.sample_rate / 2,
        ))

    @property
    def reading(self) -> dict[str, Any]:
        return {"sample_rate": self.sample_rate, "channels": self.voices}

    def vae(self, x: Tensor) -> Any:
        """The autoencoder, on the device of ``x``; no module of the codec, so that nothing copies or saves it."""
        return self.model.load("vae", self.kind).to(x.device)

    def features(self, samples: Masked) -> Masked:
        return each(samples, lambda x: self.vae(x).encode(self._filled(x)).latent_dist.mode())

    @torch.no_grad()
    def decode(self, latents: Masked) -> Masked:
        return each(self.unwhiten(latents), lambda z: self.vae(z).decode(z).sample)

    def decode_sized(self, latents: Masked, **size: float) -> Masked:
        made, length = self.decode(latents), self._length(**size)
        return Masked(made.x[..., :length], None if made.mask is None else made.mask[..., :length])

    def measure(self, features: Any) -> None:
        """Measure the whitening, where it is not the model's own."""
        if self.measured:
            super().measure(features)

    def latent_shape(self, *, seconds: Amount) -> tuple[int]:
        """``(T,)``, that of the model's window at least."""
        return (max(self.window, -(-self._length(seconds) // self.downsampling[0])),)

    def size(self, sample: Tensor) -> dict[str, float]:
        return {"seconds": sample.shape[-1] / self.sample_rate}

    def finished(self, sample: Tensor) -> tuple[Tensor, dict[str, float]]:
        return limit(sample, self.sample_rate)

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
        return attacks(self.sample_rate, self.downsampling[0])

    @torch.no_grad()
    def preview(self, samples: list[Tensor], titles: list[str], path: Path) -> Path:
        waves = [sample.cpu().mean(0) for sample in samples]
        lengths = [torch.tensor([len(wave)]) for wave in waves]
        pictures = [self.log_mel.cpu()(wave[None], n)[0] for wave, n in zip(waves, lengths, strict=True)]
        return contact_sheet(pictures, waves, titles, path, mel=self.log_mel.spec)

    def _length(self, seconds: float) -> int:
        """Samples."""
        if not 0 < seconds < math.inf:
            raise ValueError(f"seconds must be positive, got {seconds}")
        return max(1, round(seconds * self.sample_rate))

    def _filled(self, x: Tensor) -> Tensor:
        """``x`` ``(B, C, L)`` with as many channels as the model has, followed by silence."""
        (steps,) = self.latent_shape(seconds=x.shape[-1] / self.sample_rate)
        x = x.expand(-1, self.voices, -1) if x.shape[1] == 1 else x
        return F.pad(x, (0, steps * self.downsampling[0] - x.shape[-1]))
