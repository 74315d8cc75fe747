"""A U-ViT for films: convolutions where pixels are many, a transformer where they are few.

    h = W boxes(x),    level i:  h_i = Conv^n(h),  h = W' [2 x 2 of h_i]          and back:  h = Conv^n([W'' h, h_i])
    bottom   h = VideoBlock^depth(h + waves(position)),    all frames and places attend to each other
    Conv     h + K_t silu(FiLM(LN(K_s silu(LN(h))), e)),   K_s 3 x 3 in space, K_t 3 frames, K_t = 0 at initialisation
    out      W silu(LN(h)),    W = 0 at initialisation

(Hoogeboom et al. 2023, simple diffusion, section 3.4; the levels are those of Ronneberger et al. 2015.) What a pixel
shows is found from those around it, wherever it lies, so that sharp outlines are learned in fewer steps than by
``VideoDiT``, whose boxes each learn them anew; every step costs more, and more pixels cost in proportion. Frames are
not halved, and the level may differ from frame to frame. Halving rounds up, and doubling is cut to what was halved, so
every size is accepted as it is.

Channels come last within, (B, T, H, W, C): a film is then a batch of pictures without a copy.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .attention import check_backend
from .blocks import hide, modulate, zero
from .causal import Spatial
from .embeddings import Embedding
from .grid import Full, axial_angles, axial_waves, grid_of
from .inputs import CondLike, Intake
from .network import Network
from .tensors import round_up
from .unet1d import Blocks
from .video_dit import VideoBlock


class FilmConvBlock(nn.Module):
    """``(B, T, H, W, c_in) -> (B, T, H, W, c_out)``, modulated by ``embedding`` ``(B, T, 1, 1, D)``."""

    def __init__(self, c_in: int, c_out: int, emb_dim: int):
        super().__init__()
        self.norm, self.space = nn.LayerNorm(c_in), Spatial(c_in, c_out)
        self.film, self.time = nn.Linear(emb_dim, 2 * c_out), zero(nn.Linear(3 * c_out, c_out))
        self.skip = nn.Identity() if c_in == c_out else nn.Linear(c_in, c_out)

    def forward(self, x: Tensor, embedding: Tensor, mask: Tensor | None) -> Tensor:
        h = self.space(hide(F.silu(self.norm(x)), mask))
        h = hide(F.silu(modulate(h, *self.film(embedding).chunk(2, dim=-1))), mask)
        padded, frames = F.pad(h, (0, 0, 0, 0, 0, 0, 1, 1)), h.shape[1]
        return self.skip(x) + self.time(torch.cat([padded[:, k : k + frames] for k in range(3)], dim=-1))


class VideoUViT(Network):
    """``(x (B, channels, T, H, W), level (B,) or (B, T), cond, mask (B, 1, T, H, W)) -> (B, channels, T, H, W)``.

    Any T, H, W; zero at initialisation. ``start`` pixels a side are one position of the first level, a level of each of
    ``widths`` channels halves height and width, and ``depth`` transformer blocks of ``dim`` follow. ``convs``
    convolution blocks a level, each way. ``tokens`` adds cross-attention to ``cond.tokens`` in the transformer,
    ``concat_channels`` are those of ``cond.concat``, read beside x.
    """

    def __init__(
        self,
        channels: int,
        cond_dim: int,
        *,
        widths: Sequence[int] = (32, 64),
        start: int = 2,
        convs: int = 1,
        dim: int = 128,
        depth: int = 3,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        base: float = 100.0,
        tokens: bool = False,
        concat_channels: int = 0,
        backend: str = "auto",
    ):
        super().__init__()
        if not widths or min(start, convs, depth) < 1:
            raise ValueError(
                "need a width at least, and start, convs and depth of at least 1; got "
                f"widths={tuple(widths)}, start={start}, convs={convs}, depth={depth}"
            )
        if dim // heads < 8:
            raise ValueError(f"three axes of RoPE need heads of at least 8 features, got dim={dim} and heads={heads}")
        self.intake = Intake(channels, cond_dim, concat_channels=concat_channels, tokens=tokens)
        self.start, self.head_dim, self.base = start, dim // heads, base
        steps, box = list(pairwise([*widths, dim])), start**2

        def stack(c_in: int, c_out: int) -> Blocks:
            return Blocks(FilmConvBlock(a, b, dim) for a, b in pairwise([c_in] + [c_out] * convs))

        self.embedding, self.modulation = Embedding(dim, cond_dim, levels=1), zero(nn.Linear(dim, 6 * dim))
        self.stem = nn.Linear(channels * box, widths[0])
        self.maps = zero(nn.Linear(concat_channels * box, widths[0], bias=False)) if concat_channels else None
        self.down = nn.ModuleList(stack(fine, fine) for fine, _ in steps)
        self.halve = nn.ModuleList(nn.Linear(4 * fine, coarse) for fine, coarse in steps)
        self.blocks = nn.ModuleList(
            VideoBlock(
                dim, heads, grouping=Full(), mlp_ratio=mlp_ratio, context_dim=cond_dim if tokens else None,
                backend=check_backend(backend),
            )
            for _ in range(depth)
        )
        self.grow = nn.ModuleList(nn.Linear(coarse, 4 * fine) for fine, coarse in steps)
        self.up = nn.ModuleList(stack(2 * fine, fine) for fine, _ in steps)
        self.norm, self.out = nn.LayerNorm(widths[0]), zero(nn.Linear(widths[0], channels * box))

    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        inputs, size = self.intake(x, cond, mask), x.shape[2:]
        level = level[:, None].expand(-1, size[0]) if level.ndim == 1 else level
        embedding = self.embedding(level[..., None], inputs.vector)[:, :, None, None]             # (B, T, 1, 1, D)
        h, real = self.stem(boxes(inputs.x.movedim(1, -1), self.start)), mask     # (B, T, H', W', C)
        if self.maps is not None and inputs.maps is not None:
            h = h + self.maps(boxes(inputs.maps.movedim(1, -1), self.start))
        if mask is not None:
            real = boxes(mask.movedim(1, -1), self.start).any(-1, keepdim=True)   # where any pixel is

        skips = []
        for stack, halve in zip(self.down, self.halve, strict=True):
            h = stack(h, embedding, real)
            skips.append((h, real))
            h = halve(boxes(hide(h, real), 2))
            real = None if real is None else boxes(real, 2).any(-1, keepdim=True)
        grid = grid_of(h)
        h = h + axial_waves(grid, h.shape[-1], base=self.base, like=h)
        turns, modulation = axial_angles(grid, self.head_dim, base=self.base, like=h), self.modulation(embedding)
        for block in self.blocks:
            h = block(h, modulation, inputs, mask=None if real is None else real[..., 0], angles=turns)
        for grow, stack in zip(reversed(self.grow), reversed(self.up), strict=True):
            skip, real = skips.pop()
            h = stack(torch.cat([pixels(grow(h), 2, skip.shape[2:4]), skip], dim=-1), embedding, real)
        out = pixels(self.out(F.silu(self.norm(h))), self.start, size[1:])
        return hide(out.movedim(-1, 1), mask)


def boxes(x: Tensor, side: int) -> Tensor:
    """``(B, T, H, W, C)`` -> ``(B, T, H', W', C side side)``; the last of a row or column is filled with zeros."""
    height, width = x.shape[2:4]
    x = F.pad(x, (0, 0, 0, round_up(width, side) - width, 0, round_up(height, side) - height))
    return rearrange(x, "b t (h p) (w q) c -> b t h w (c p q)", p=side, q=side)


def pixels(x: Tensor, side: int, size: Sequence[int]) -> Tensor:
    """The other way of ``boxes``, cut to ``size`` (H, W)."""
    x = rearrange(x, "b t h w (c p q) -> b t (h p) (w q) c", p=side, q=side)
    return x[:, :, : size[0], : size[1]]
