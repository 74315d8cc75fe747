"""Shapes to a set of tokens and back to any number of points; see ``mmdiff.nn.sets``."""

from collections.abc import Sequence

import torch

from ...core.types import Masked
from ...nn.sets import SetDecoder, SetEncoder
from ..base import Count
from ..coder import Coder


class ShapeCoder(Coder):
    """A latent of ``tokens``, whatever the number of points and their order; decoded to ``points`` where no number is
    asked for. ``width`` channels in ``heads``, ``depth`` blocks among the tokens, each way."""

    def __init__(
        self, *, tokens: Count = 32, width: Count = 128, depth: Count = 2, heads: Count = 4, points: Count = 2048
    ):
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width is a multiple of 2 heads, got {width} and {heads} heads")
        self.tokens, self.points = tokens, points
        self.width, self.depth, self.heads = width, depth, heads

    def make(self, channels: int, latent: int, moments: int) -> None:
        sizes = {"tokens": self.tokens, "width": self.width, "depth": self.depth, "heads": self.heads}
        self.encoder = SetEncoder(channels, moments * latent, **sizes)
        self.decoder = SetDecoder(latent, channels, **sizes)

    def latent_extent(self, extent: Sequence[int]) -> tuple[int, ...]:
        return (self.tokens,)

    def encode(self, x: Masked) -> Masked:
        if self.training:
            h = self.encoder(x.x, x.mask)
        else:                                                         # alone: the same bits in any batch
            masks = [None] * len(x.x) if x.mask is None else list(x.mask[:, 0])
            clouds = [one if mask is None else one[:, mask] for one, mask in zip(x.x, masks, strict=True)]
            h = torch.cat([self.encoder(one[None]) for one in clouds])
        return Masked(h, None if x.mask is None else torch.ones_like(h[:, :1], dtype=torch.bool))

    def decode(self, z: Masked, extent: Sequence[int] | None = None) -> Masked:
        count = self.points if extent is None else int(extent[0])
        parts = [z.x] if self.training else z.x.split(1)
        x = torch.cat([self.decoder(part, count) for part in parts])
        return Masked(x, None if z.mask is None else torch.ones_like(x[:, :1], dtype=torch.bool))
