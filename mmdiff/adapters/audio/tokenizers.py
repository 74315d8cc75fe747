"""Codecs that were made for codes, used for what lies before the codes: DAC and Mimi, from folders of transformers.

    DAC    (Kumar et al. 2023)      (1, L) -> (1024, L / 512) at 44.1 kHz; convolutions alone
    Mimi   (Défossez et al. 2024)   (1, L) -> (512, L / 1920) at 24 kHz; a causal transformer at each end besides
"""

import math
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from ..public import PublicModel
from .neural import NeuralCodec


class DacCodec(NeuralCodec):
    """DAC in the folder of ``model``; ``whitening`` is ``measured`` on the training set, or none (``model``)."""

    public_parts, kind = ("codec",), "DacModel"

    def __init__(self, model: PublicModel, *, whitening: Literal["model", "measured"] = "measured"):
        config = model.config("codec", self.kind)
        ratios = config["downsampling_ratios"]
        super().__init__(model, channels=config["encoder_hidden_size"] * 2 ** len(ratios), voices=1,
                         rate=int(config["sampling_rate"]), hop=math.prod(ratios), whitening=whitening)

    def encoded(self, network: Any, x: Tensor) -> Tensor:
        return network.encoder(x)

    def decoded(self, network: Any, z: Tensor) -> Tensor:
        wave = network.decoder(z)
        return F.pad(wave, (0, z.shape[-1] * self.downsampling[0] - wave.shape[-1]))      # odd strides leave out some


class MimiCodec(NeuralCodec):
    """Mimi in the folder of ``model``; ``whitening`` is ``measured`` on the training set, or none (``model``)."""

    public_parts, kind = ("codec",), "MimiModel"

    def __init__(self, model: PublicModel, *, whitening: Literal["model", "measured"] = "measured"):
        config = model.config("codec", self.kind)
        rate, frames = int(config["sampling_rate"]), config.get("frame_rate", config.get("_frame_rate"))
        hop = 2 * math.prod(config["upsampling_ratios"]) if frames is None else round(rate / frames)
        super().__init__(model, channels=config["hidden_size"], voices=int(config["audio_channels"]), rate=rate,
                         hop=hop, whitening=whitening)

    def encoded(self, network: Any, x: Tensor) -> Tensor:
        return network.encoder(x).latents

    def decoded(self, network: Any, z: Tensor) -> Tensor:
        return network.decoder(z).audio_values[..., : z.shape[-1] * self.downsampling[0]]
