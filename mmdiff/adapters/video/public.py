"""What codecs of clips have in common that come from a folder, with weights of somebody else.

    (1 + k r, H, W) -> (1 + k, H / s, W / s):    the first frame has a latent of its own, then every r have one
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from ...core.types import Masked
from ..base import Amount, Count
from ..public import PublicModel, each, weight_bytes
from .codec import ClipCodec


class PublicClipCodec(ClipCodec):
    """The autoencoder of ``model``, of the class ``kind``; ``whitening`` is by the statistics that came with the
    ``model``, or ``measured`` on the training set. Samples are encoded to the mean of their latents, each by itself
    where they are of several sizes; clips of 1 + k r frames with sides that the model takes fit, others are filled up
    by their last frame, row and column, and what is generated is cut to what was asked. With ``tiled`` clips larger
    than the library's tiles are coded in such, which overlap and are blended: less memory, and not quite the same.

    ``downsampling`` is r and s of both sides; latents are whole ``patch``es of the transformer that reads them.
    """

    public_parts: tuple[str, ...] = ("vae",)
    kind: str

    def __init__(
        self, model: PublicModel, *, channels: int, downsampling: tuple[int, int, int], patch: tuple[int, int, int],
        whitening: Literal["model", "measured"], fps: float, background: str, tiled: bool,
    ):
        super().__init__(
            channels, colours=3, fps=fps, background=background, groups=dict.fromkeys(map(str, range(channels)), 1),
            bounds=(-1.0, 1.0),
        )
        self.model, self.identity, self.measured = model, model.digest("vae"), whitening == "measured"
        self.downsampling, self.patch, self.tiled = downsampling, patch, tiled

    @abstractmethod
    def encoded(self, vae: Any, x: Tensor) -> Tensor:
        """``x`` ``(B, 3, 1 + k r, H, W)`` -> ``(B, C, 1 + k, H / s, W / s)``."""

    @abstractmethod
    def decoded(self, vae: Any, z: Tensor) -> Tensor:
        """The way back."""

    def vae(self, x: Tensor) -> Any:
        """The autoencoder, on the device of ``x``; no module of the codec, so that nothing copies or saves it."""
        network: Any = self.model.load("vae", self.kind).to(x.device)
        network.use_tiling = self.tiled
        return network

    def frozen(self) -> dict[str, int]:
        return {"autoencoder": weight_bytes(self.model.load("vae", self.kind))}

    def features(self, samples: Masked) -> Masked:
        return each(samples, lambda x: self.encoded(self.vae(x), self._filled(x)))

    def decode(self, latents: Masked) -> Masked:
        return each(self.unwhiten(latents), lambda z: self.decoded(self.vae(z), z).clamp(*self.bounds))

    def decode_sized(self, latents: Masked, **size: float) -> Masked:
        decoded = self.decode(latents)
        frames, height, width = self.clip_shape(**size)
        kept = (..., slice(frames), slice(height), slice(width))
        return Masked(decoded.x[kept], None if decoded.mask is None else decoded.mask[kept])

    def measure(self, features: Any) -> None:
        """Measure the whitening, where it is not the model's own."""
        if self.measured:
            super().measure(features)

    def latent_shape(
        self, *, height: Count, width: Count, frames: Count | None = None, seconds: Amount | None = None
    ) -> tuple[int, ...]:
        """``(1 + (T - 1) / r, H / s, W / s)``, rounded up; ``seconds``, if told, goes before ``frames``."""
        return self._latent(self.clip_shape(height=height, width=width, frames=frames, seconds=seconds))

    def _latent(self, shape: Sequence[int]) -> tuple[int, ...]:
        sides = (shape[0] - 1, *shape[1:])
        time, height, width = (-(-n // step) for n, step in zip(sides, self.downsampling, strict=True))
        return tuple(-(-n // patch) * patch for n, patch in zip((1 + time, height, width), self.patch, strict=True))

    def _filled(self, x: Tensor) -> Tensor:
        """``x`` ``(B, C, T, H, W)`` in the size of the clips that its latents are decoded to."""
        time, height, width = self._latent(x.shape[2:])
        extent = 1 + (time - 1) * self.downsampling[0], height * self.downsampling[1], width * self.downsampling[2]
        t, h, w = (new - old for new, old in zip(extent, x.shape[2:], strict=True))
        return F.pad(x, (0, w, 0, h, 0, t), mode="replicate") if t or h or w else x
