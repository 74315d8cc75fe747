"""Oobleck (Evans et al. 2024), a learned codec of waveforms, from a folder: the one of Stable Audio.

    latent = mean of encoder(x),      (C, L) -> (64, L / 2048)            its latents are of unit variance about 0

Where the folder has a transformer too, every sample is as long as that one's window: silence follows it, and what is
generated is cut to what was asked for.
"""

import math
from typing import Any, Literal

from torch import Tensor

from ..public import PublicModel
from .neural import NeuralCodec


class OobleckCodec(NeuralCodec):
    """The autoencoder of ``model``; ``whitening`` is the ``model``'s own (none), or ``measured`` on the training set.

    Samples are ``(B, voices, L)``, of as many channels as the model has.
    """

    public_parts, kind = ("vae",), "AutoencoderOobleck"

    def __init__(self, model: PublicModel, *, whitening: Literal["model", "measured"] = "model"):
        config = model.config("vae", self.kind)
        network = model.config("transformer") if model.has("transformer") else {}
        super().__init__(
            model, channels=config["decoder_input_channels"], rate=int(config["sampling_rate"]),
            hop=math.prod(config["downsampling_ratios"]), voices=int(config["audio_channels"]), whitening=whitening,
            window=int(network.get("sample_size") or 1),
        )

    def encoded(self, network: Any, x: Tensor) -> Tensor:
        return network.encode(x).latent_dist.mode()

    def decoded(self, network: Any, z: Tensor) -> Tensor:
        return network.decode(z).sample
