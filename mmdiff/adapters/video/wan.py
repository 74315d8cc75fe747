"""Wan (Wan Team 2025), from a folder: its autoencoder as a codec, its transformer as a network.

    latent = (mean of encoder(x) - m) / s,         m and s of its config.json;  (1 + 4 k, H, W) -> (1 + k, H/8, W/8)
    eps - x0 = transformer(x_t, 1000 t, tokens),   x_t = (1 - t) x0 + t eps,  t = sigma / (alpha + sigma)

The network is told a unit-variance input and a level, and tells the transformer what it learned with, whatever the
schedule here is. A level for each frame becomes a time for each token.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.parameterizations import Difference
from ...core.types import Masked, expand
from ...nn.frozen import freeze, sharing
from ...nn.inputs import CondLike
from ...nn.network import Network
from ..base import Amount, Count
from ..public import Precision, PublicModel, each, weight_bytes
from .codec import ClipCodec

TIMES = 1000.0
"""What its times are counted in."""


class WanCodec(ClipCodec):
    """The autoencoder of ``model``; ``whitening`` is by the statistics that came with the ``model``, or ``measured`` on
    the training set. Samples are encoded to the mean of their latents, each by itself where they are of several sizes;
    clips of 1 + 4 k frames with sides that the model takes fit, others are filled up by their last frame, row and
    column, and what is generated is cut to what was asked.
    """

    public_parts, kind = ("vae",), "AutoencoderKLWan"

    def __init__(
        self, model: PublicModel, *, whitening: Literal["model", "measured"] = "model", fps: float = 16.0,
        background: str = "black",
    ):
        config = model.config("vae", self.kind)
        channels = config["z_dim"]
        super().__init__(
            channels, colours=3, fps=fps, background=background, groups=dict.fromkeys(map(str, range(channels)), 1),
            bounds=(-1.0, 1.0),
        )
        self.model, self.identity, self.measured = model, model.digest("vae"), whitening == "measured"
        self.downsampling = (config["scale_factor_temporal"], *[config["scale_factor_spatial"]] * 2)
        network = model.config("transformer") if model.has("transformer") else {}
        self.patch = tuple(network.get("patch_size", (1, 1, 1)))
        self.mean.copy_(torch.tensor(config["latents_mean"]))
        self.std.copy_(torch.tensor(config["latents_std"]))

    def vae(self, x: Tensor) -> Any:
        """The autoencoder, on the device of ``x``; no module of the codec, so that nothing copies or saves it."""
        return self.model.load("vae", self.kind).to(x.device)

    def frozen(self) -> dict[str, int]:
        return {"autoencoder": weight_bytes(self.model.load("vae", self.kind))}

    def features(self, samples: Masked) -> Masked:
        return each(samples, lambda x: self.vae(x).encode(self._filled(x)).latent_dist.mode())

    def decode(self, latents: Masked) -> Masked:
        return each(self.unwhiten(latents), lambda z: self.vae(z).decode(z).sample.clamp(*self.bounds))

    def decode_sized(self, latents: Masked, **size: float) -> Masked:
        made = self.decode(latents)
        frames, height, width = self.clip_shape(**size)
        kept = (..., slice(frames), slice(height), slice(width))
        return Masked(made.x[kept], None if made.mask is None else made.mask[kept])

    def measure(self, features: Any) -> None:
        """Measure the whitening, where it is not the model's own."""
        if self.measured:
            super().measure(features)

    def latent_shape(
        self, *, height: Count, width: Count, frames: Count | None = None, seconds: Amount | None = None
    ) -> tuple[int, ...]:
        """``(1 + (T - 1) / 4, H / 8, W / 8)``, rounded up; ``seconds``, if told, goes before ``frames``."""
        return self._latent(self.clip_shape(height=height, width=width, frames=frames, seconds=seconds))

    def _latent(self, shape: Sequence[int]) -> tuple[int, ...]:
        sides = (shape[0] - 1, *shape[1:])
        time, height, width = (-(-n // step) for n, step in zip(sides, self.downsampling, strict=True))
        return tuple(-(-n // patch) * patch for n, patch in zip((1 + time, height, width), self.patch, strict=True))

    def _filled(self, x: Tensor) -> Tensor:
        """``x`` ``(B, C, T, H, W)`` in the size of the clips that its latents are decoded to."""
        time, height, width = self._latent(x.shape[2:])
        whole = 1 + (time - 1) * self.downsampling[0], height * self.downsampling[1], width * self.downsampling[2]
        t, h, w = (new - old for new, old in zip(whole, x.shape[2:], strict=True))
        return F.pad(x, (0, w, 0, h, 0, t), mode="replicate") if t or h or w else x


class WanNetwork(Network):
    """The transformer of ``model``, whose own weights are in ``dtype`` and never learn: changes of them do."""

    public_parts, kind, pipelines = ("transformer",), "WanTransformer3DModel", ("WanPipeline",)
    pretrained, pads, puts_out, inner = True, False, Difference, "transformer"
    task = "text-to-video"

    def __init__(
        self, channels: int, cond_dim: int, *, model: PublicModel, tokens: bool = True, dtype: Precision = "float32"
    ):
        super().__init__()
        config = model.config("transformer", self.kind)
        wanted = {"in_channels": channels, "out_channels": channels, "text_dim": cond_dim}
        model.agree("transformer", config, wanted)
        if not tokens:
            raise ValueError("this transformer reads a text: name captions by data.captions=true or data.texts=")
        self.model = model
        self.transformer: Any = sharing(model.load("transformer", self.kind, dtype))
        self.patch = tuple(config["patch_size"])
        freeze(self)

    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        if mask is not None and not mask.all():
            raise ValueError("this transformer knows no padding: clips of a batch are of one size, see "
                             "adapter.reader.buckets")
        if cond is None or cond.tokens is None:
            raise ValueError("this transformer is told a text, and none was given: an empty one is a text too")
        if any(n % p for n, p in zip(x.shape[2:], self.patch, strict=True)):
            raise ValueError(f"latents of {' x '.join(map(str, x.shape[2:]))} cannot be cut into patches of "
                             f"{' x '.join(map(str, self.patch))}: take another height and width")
        alpha, sigma = (math.pi / 2 * level.double()).cos(), (math.pi / 2 * level.double()).sin()
        t = sigma / (alpha + sigma)                                               # (B,) or (B, T)
        x_t = x * expand(torch.hypot(1 - t, t), x).to(x.dtype)
        own = self.transformer.patch_embedding.bias.dtype
        out = self.transformer(x_t.to(own), self._times(t, x).to(x.dtype), cond.tokens.to(own), return_dict=False)[0]
        return out.to(x.dtype)

    def _times(self, t: Tensor, x: Tensor) -> Tensor:
        """``(B,)``, or for a level of each frame one of each token ``(B, T' H' W')``, that of a patch's first frame."""
        if t.ndim == 1:
            return TIMES * t
        tokens = x[0, 0, 0].numel() // (self.patch[1] * self.patch[2])            # of a frame
        return TIMES * t[:, :: self.patch[0]].repeat_interleave(tokens, dim=1)


class FrameWanNetwork(WanNetwork):
    """Wan 2.2 TI2V, which learned with a time for each frame: that of what is given is 0, so a first frame that is
    given is the picture of image to video."""

    pipelines = ("WanPipeline with expand_timesteps",)
    task = "image-to-video"
