"""Wan (Wan Team 2025), from a folder: its autoencoder as a codec, its transformer as a network.

    latent = (mean of encoder(x) - m) / s,         m and s of its config.json;  (1 + 4 k, H, W) -> (1 + k, H/8, W/8)
    eps - x0 = transformer(x_t, 1000 t, tokens),   x_t = (1 - t) x0 + t eps

A level for each frame becomes a time for each token.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from ...core.parameterizations import Difference
from ...nn.inputs import CondLike
from ..public import Precision, PublicModel
from ..public_network import PublicNetwork, of_tokens, straight
from .public import PublicClipCodec

TRANSFORMER = "WanTransformer3DModel"
TIMES = 1000.0
"""What its times are counted in."""


class WanCodec(PublicClipCodec):
    """The autoencoder of ``model``."""

    kind = "AutoencoderKLWan"

    def __init__(
        self, model: PublicModel, *, whitening: Literal["model", "measured"] = "model", fps: float = 16.0,
        background: str = "black", tiled: bool = False,
    ):
        config = model.config("vae", self.kind)
        network = model.config("transformer", TRANSFORMER) if model.has("transformer") else {}
        time, side = config["scale_factor_temporal"], config["scale_factor_spatial"]
        super().__init__(
            model, channels=config["z_dim"], downsampling=(time, side, side),
            patch=tuple(network.get("patch_size", (1, 1, 1))), whitening=whitening, fps=fps, background=background,
            tiled=tiled,
        )
        self.mean.copy_(torch.tensor(config["latents_mean"]))
        self.std.copy_(torch.tensor(config["latents_std"]))

    def encoded(self, vae: Any, x: Tensor) -> Tensor:
        return vae.encode(x).latent_dist.mode()

    def decoded(self, vae: Any, z: Tensor) -> Tensor:
        return vae.decode(z).sample


class WanNetwork(PublicNetwork):
    """The transformer of Wan 2.1."""

    kind, pipelines = TRANSFORMER, ("WanPipeline",)
    puts_out, reads, task = Difference, "text_dim", "text-to-video"

    def __init__(
        self, channels: int, cond_dim: int, *, model: PublicModel, tokens: bool = True, dtype: Precision = "float32"
    ):
        super().__init__(channels, cond_dim, model=model, tokens=tokens, dtype=dtype)
        self.patch = tuple(self.config["patch_size"])

    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        tokens = self.tokens(cond, mask)
        if any(n % p for n, p in zip(x.shape[2:], self.patch, strict=True)):
            raise ValueError(f"latents of {' x '.join(map(str, x.shape[2:]))} cannot be cut into patches of "
                             f"{' x '.join(map(str, self.patch))}: take another height and width")
        x_t, t = straight(x, level)
        out = self.transformer(x_t.to(tokens), self._times(t, x).to(x.dtype), tokens, return_dict=False)[0]
        return out.to(x.dtype)

    def _times(self, t: Tensor, x: Tensor) -> Tensor:
        return TIMES * of_tokens(t, tuple(x.shape[2:]), self.patch)


class FrameWanNetwork(WanNetwork):
    """The transformer of Wan 2.2 TI2V, which learned with a time for each frame: that of what is given is 0, so a first
    frame that is given is the picture of image to video."""

    pipelines = ("WanPipeline with expand_timesteps",)
    task = "image-to-video"
