"""LTX-Video (HaCohen et al. 2024), from a folder: its autoencoder as a codec, its transformer as a network.

    latent = c (mean of encoder(x) - m) / s,            m, s of its weights;  (1 + 8 k, H, W) -> (1 + k, H/32, W/32)
    eps - x0 = transformer(x_t, 1000 t, tokens, mask),  x_t = (1 - t) x0 + t eps

Positions are told in seconds and pixels, so the network knows the frame rate. A level for each frame becomes a time for
each token: what is given has time 0.
"""

from typing import Any, Literal

from einops import rearrange
from torch import Tensor

from ...core.parameterizations import Difference
from ...nn.inputs import CondLike
from ..public import Precision, PublicModel
from ..public_network import PublicNetwork, of_tokens, straight
from .public import PublicClipCodec

TRANSFORMER = "LTXVideoTransformer3DModel"
TIMES = 1000.0
"""What its times are counted in."""
PACKED = "b c (t p) (h q) (w r) -> b (t h w) (c p q r)"


class LTXCodec(PublicClipCodec):
    """The autoencoder of ``model``; one whose decoder is told a time and noise (0.9.1 and later) is told neither."""

    kind = "AutoencoderKLLTXVideo"

    def __init__(
        self, model: PublicModel, *, whitening: Literal["model", "measured"] = "model", fps: float = 25.0,
        background: str = "black", tiled: bool = False,
    ):
        config = model.config("vae", self.kind)
        halved = 2 ** sum(config["spatio_temporal_scaling"])
        time = config.get("temporal_compression_ratio") or config["patch_size_t"] * halved
        side = config.get("spatial_compression_ratio") or config["patch_size"] * halved
        super().__init__(
            model, channels=config["latent_channels"], downsampling=(time, side, side),
            patch=_patch(model.config("transformer", TRANSFORMER)) if model.has("transformer") else (1, 1, 1),
            whitening=whitening, fps=fps, background=background, tiled=tiled,
        )
        self.timed = bool(config["timestep_conditioning"])
        if came := model.tensors("vae", ("latents_mean", "latents_std")):
            self.mean.copy_(came["latents_mean"])
            self.std.copy_(came["latents_std"] / config["scaling_factor"])

    def encoded(self, vae: Any, x: Tensor) -> Tensor:
        return vae.encode(x).latent_dist.mode()

    def decoded(self, vae: Any, z: Tensor) -> Tensor:
        return vae.decode(z, z.new_zeros(len(z)) if self.timed else None).sample


class LTXNetwork(PublicNetwork):
    """The transformer of LTX-Video, of clips with ``fps`` frames a second; ``downsampling`` is the codec's."""

    kind, pipelines = TRANSFORMER, ("LTXPipeline",)
    puts_out, reads, task = Difference, "caption_channels", "text-to-video"

    def __init__(
        self, channels: int, cond_dim: int, *, model: PublicModel, downsampling: list[int], fps: float = 25.0,
        tokens: bool = True, dtype: Precision = "float32",
    ):
        self.patch = _patch(model.config("transformer", self.kind))
        super().__init__(
            channels * self.patch[0] * self.patch[1] ** 2, cond_dim, model=model, tokens=tokens, dtype=dtype
        )
        time, height, width = downsampling
        self.scale = time / fps, height, width

    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        tokens = self.tokens(cond, mask)
        present = tokens.new_ones(tokens.shape[:2]) if cond is None or cond.tokens_mask is None else cond.tokens_mask
        x_t, t = straight(x, level)
        cut = dict(zip("pqr", self.patch, strict=True))
        shape = dict(zip("thw", (n // p for n, p in zip(x.shape[2:], self.patch, strict=True)), strict=True))
        out = self.transformer(
            rearrange(x_t, PACKED, **cut).to(tokens), tokens,
            (TIMES * of_tokens(t, tuple(x.shape[2:]), self.patch)).to(x.dtype), present, num_frames=shape["t"],
            height=shape["h"], width=shape["w"], rope_interpolation_scale=self.scale, return_dict=False,
        )[0]
        return rearrange(out, " -> ".join(reversed(PACKED.split(" -> "))), **cut, **shape).to(x.dtype)


def _patch(config: dict[str, Any]) -> tuple[int, int, int]:
    """Frames, rows and columns of a latent that are one token."""
    return config["patch_size_t"], config["patch_size"], config["patch_size"]
