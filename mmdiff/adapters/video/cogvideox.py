"""CogVideoX (Yang et al. 2024), from a folder: its autoencoder as a codec, its transformer as a network.

    latent = c mean of encoder(x),          c of its config.json;  (1 + 8 k, H, W) -> (1 + 2 k, H/8, W/8)
    v      = transformer(x_t, k, tokens),   x_t of unit variance on the sphere, k the step of its table at that level

The table is that of the folder's scheduler, whatever the schedule here is. A model that turns its positions (5B) is
told those of a centred crop of the size that it learned with, as its pipeline does.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from ...core.parameterizations import V
from ...core.tabulated import ScaledLinear
from ...nn.inputs import CondLike
from ..public import Precision, PublicModel
from ..public_network import PublicNetwork
from .public import PublicClipCodec

TRANSFORMER = "CogVideoXTransformer3DModel"


class CogVideoXCodec(PublicClipCodec):
    """The autoencoder of ``model``."""

    kind = "AutoencoderKLCogVideoX"

    def __init__(
        self, model: PublicModel, *, whitening: Literal["model", "measured"] = "model", fps: float = 8.0,
        background: str = "black", tiled: bool = False,
    ):
        config = model.config("vae", self.kind)
        if config.get("invert_scale_latents"):
            raise ValueError(f"{model.folder('vae')} scales latents the other way round, as CogVideoX 1.5 does, which "
                             "this adapter does not read: take CogVideoX 2B or 5B")
        patch = model.config("transformer", TRANSFORMER)["patch_size"] if model.has("transformer") else 1
        side = 2 ** (len(config["block_out_channels"]) - 1)
        super().__init__(
            model, channels=config["latent_channels"], patch=(1, patch, patch), whitening=whitening, fps=fps,
            background=background, tiled=tiled, downsampling=(int(config["temporal_compression_ratio"]), side, side),
        )
        self.std.fill_(1 / config["scaling_factor"])

    def _latent(self, shape: Sequence[int]) -> tuple[int, ...]:
        """An odd number of frames: after the first its decoder takes two at a time."""
        time, height, width = super()._latent(shape)
        return time + (time + 1) % 2, height, width

    def encoded(self, vae: Any, x: Tensor) -> Tensor:
        return vae.encode(x).latent_dist.mode()

    def decoded(self, vae: Any, z: Tensor) -> Tensor:
        return vae.decode(z).sample


class CogVideoXNetwork(PublicNetwork):
    """The transformer of CogVideoX 2B or 5B, and the table of its scheduler."""

    public_parts = ("transformer", "scheduler")
    kind, pipelines = TRANSFORMER, ("CogVideoXPipeline",)
    puts_out, reads, task = V, "text_embed_dim", "text-to-video"

    def __init__(
        self, channels: int, cond_dim: int, *, model: PublicModel, tokens: bool = True, dtype: Precision = "float32"
    ):
        super().__init__(channels, cond_dim, model=model, tokens=tokens, dtype=dtype)
        if self.config.get("patch_size_t") is not None:
            raise ValueError("this is CogVideoX 1.5, which this adapter does not read: take CogVideoX 2B or 5B")
        table = model.config("scheduler")
        if (table["beta_schedule"], table["prediction_type"]) != ("scaled_linear", "v_prediction"):
            raise ValueError(f"{model.folder('scheduler')} is of {table['beta_schedule']} and "
                             f"{table['prediction_type']}, and this adapter takes scaled_linear and v_prediction")
        self.table = ScaledLinear(
            table["beta_start"], table["beta_end"], steps=table["num_train_timesteps"],
            snr_scale=table["snr_shift_scale"], zero_terminal=table["rescale_betas_zero_snr"],
        )

    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        tokens = self.tokens(cond, mask)
        step = self.table.index_of(math.pi / 2 * level.double()).clamp(min=0)
        out = self.transformer(
            x.transpose(1, 2).to(tokens), tokens, step.to(x.dtype), image_rotary_emb=self._turns(x), return_dict=False
        )[0]
        return out.transpose(1, 2).to(x.dtype)

    def _turns(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Cosine and sine ``(T H' W', D)`` of the angles of each position, where it learned with such."""
        if not self.config["use_rotary_positional_embeddings"]:
            return None
        from diffusers.models.embeddings import get_3d_rotary_pos_embed
        from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

        patch = self.config["patch_size"]
        grid = x.shape[3] // patch, x.shape[4] // patch
        learned = self.config["sample_width"] // patch, self.config["sample_height"] // patch
        cos, sin = get_3d_rotary_pos_embed(
            embed_dim=self.config["attention_head_dim"], crops_coords=get_resize_crop_region_for_grid(grid, *learned),
            grid_size=grid, temporal_size=x.shape[2], device=x.device,
        )
        return cos, sin
