"""A spatio-temporal diffusion transformer: boxes of (frames x height x width) are the tokens.

    z = W patches(x) + waves(position)
    z = z + g1 Attend(m1(z));   z = z + Cross(z, tokens);   z = z + g2 MLP(m2(z)),     m(z) = (1 + scale) LN(z) + shift
    (shift, scale, g)_1,2 = E(level, vector) + table_l        one E for all blocks (adaLN-single, Chen et al. 2024)
    out = W' m(z),   W' = 0 at initialisation
    with a head:  out = k(level) held + conv([W' m(z), x, held, level]),   held = the last frame before with less noise

(Peebles & Xie 2023; Ma et al. 2024, Latte.) The level may differ from frame to frame: E is then one row a frame, so
that one model generates, continues and fills in. Positions are given both as axial RoPE and as waves added at the
start; RoPE alone is what extrapolates to other sizes. Tokens are made one by one, so that boxes show and detail of what
is given is lost; the head works on pixels, across boxes, and begins from the frame that was given last.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn

from .aligned import AlignedLinear
from .attention import check_backend
from .blocks import Attention, hide, modulate, zero
from .embeddings import Embedding
from .grid import Full, GridAttention, Grouping, Space, Time, Window, axial_angles, axial_waves, grid_of
from .inputs import CondLike, Inputs, Intake
from .network import Network
from .tensors import round_up

PATTERNS = ("full", "divided", "window")


class VideoBlock(nn.Module):
    """An adaLN-single block ``(B, T', H', W', dim)``; with ``context_dim`` it also attends to the tokens."""

    def __init__(
        self, dim: int, heads: int, *, grouping: Grouping, mlp_ratio: float, context_dim: int | None, backend: str
    ):
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.attention = GridAttention(dim, heads, grouping=grouping, backend=backend)
        self.cross = Attention(dim, heads, context_dim=context_dim, backend=backend) if context_dim else None
        self.cross_norm = nn.LayerNorm(dim) if context_dim else None
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dim))
        self.table = nn.Parameter(torch.zeros(6 * dim))
        if self.cross is not None:
            zero(self.cross.out)

    def forward(
        self, z: Tensor, modulation: Tensor, inputs: Inputs, *, mask: Tensor | None, angles: Tensor
    ) -> Tensor:
        """``modulation`` ``(B, T' or 1, 1, 1, 6 dim)``."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.table).chunk(6, dim=-1)
        z = z + gate1 * self.attention(modulate(z, shift1, scale1), mask=mask, angles=angles)
        if self.cross is not None and self.cross_norm is not None and inputs.tokens is not None:
            flat = self.cross(self.cross_norm(z.flatten(1, 3)), inputs.tokens, mask=inputs.tokens_mask)
            z = z + flat.unflatten(1, z.shape[1:4])
        return z + gate2 * self.mlp(modulate(z, shift2, scale2))


def last_cleaner(x: Tensor, level: Tensor) -> Tensor:
    """``x`` ``(B, C, T, H, W)`` with each frame replaced by the last one before it that has less noise, by ``level``
    ``(B, T)``; 0 where there is none, as where all have the same."""
    frames = torch.arange(level.shape[1], device=x.device)
    less = (level[:, None] < level[..., None]) & (frames < frames[:, None])       # (B, T of, T at)
    last = torch.where(less, frames, -1).amax(2)                                  # (B, T)
    there = (last >= 0)[:, None, :, None, None]
    at = last.clamp(min=0)[:, None, :, None, None].expand(-1, x.shape[1], -1, *x.shape[3:])
    return torch.where(there, x.gather(2, at), 0)


class Head(nn.Module):
    """Features of tokens ``(B, features, T, H, W)``, x ``(B, channels, T, H, W)`` and what is held of it to the output,
    in two convolutions within each frame; ``level`` ``(B, T)``, ``embedding`` ``(B, T, dim)``."""

    def __init__(self, channels: int, features: int, dim: int):
        super().__init__()
        self.conv1 = nn.Conv3d(features + 2 * channels + 1, features, (1, 3, 3), padding=(0, 1, 1))
        self.conv2 = zero(nn.Conv3d(features, channels, (1, 3, 3), padding=(0, 1, 1)))
        self.film, self.keep = nn.Linear(dim, 2 * features), zero(AlignedLinear(dim, 1))

    def forward(self, features: Tensor, x: Tensor, level: Tensor, embedding: Tensor, mask: Tensor | None) -> Tensor:
        last, levels = last_cleaner(x, level), level[:, None, :, None, None].expand_as(x[:, :1])
        shift, scale = self.film(embedding).mT[..., None, None].chunk(2, dim=1)   # (B, features, T, 1, 1)
        h = hide(torch.cat([features, x, last, levels], 1), mask)
        h = self.conv1(h.contiguous(memory_format=torch.channels_last_3d))        # twice as quickly on a CPU
        h = hide(F.silu(torch.addcmul(shift, h, 1 + scale)), mask)
        return self.keep(embedding).mT[..., None, None] * last + self.conv2(h)


class VideoDiT(Network):
    """``(x (B, channels, T, H, W), level (B,) or (B, T), cond, mask (B, 1, T, H, W)) -> (B, channels, T, H, W)``.

    Any T, H, W; zero at initialisation. ``patch`` is (frames, height, width) of a token, of which a codec has taken its
    ``downsampling`` already; the last of each axis is filled with zeros, and is real where any of it is.
    ``pattern``: ``"full"`` attention; ``"divided"``, blocks in turn within a frame and along time; ``"window"``, boxes
    of ``window`` tokens, every second block's shifted. ``waves`` adds absolute positions. ``tokens`` adds
    cross-attention to ``cond.tokens`` in every block, ``concat_channels`` are those of ``cond.concat``, read beside x.
    ``head`` is the width of convolutions between tokens and output, for what goes on from given frames; 0 = none.
    ``blocks`` is the unit for sharding and activation checkpointing.
    """

    def __init__(
        self,
        channels: int,
        cond_dim: int,
        *,
        dim: int = 192,
        depth: int = 6,
        heads: int = 6,
        mlp_ratio: float = 4.0,
        patch: Sequence[int] = (2, 8, 8),
        pattern: Literal["full", "divided", "window"] = "full",
        window: Sequence[int] = (2, 8, 8),
        waves: bool = True,
        base: float = 100.0,
        head: int = 0,
        tokens: bool = False,
        concat_channels: int = 0,
        downsampling: Sequence[int] = (),
        backend: str = "auto",
    ):
        super().__init__()
        steps = downsampling or (1,) * len(patch)
        patch = [max(1, round(size / step)) for size, step in zip(patch, steps, strict=True)]
        if len(patch) != 3 or min(patch) < 1 or depth < 1:
            raise ValueError(
                f"patch is (frames, height, width), each at least 1, and depth at least 1; got {tuple(patch)}, {depth}"
            )
        if pattern not in PATTERNS:
            raise ValueError(f"pattern is one of {', '.join(PATTERNS)}, got {pattern!r}")
        if dim // heads < 8:
            raise ValueError(f"three axes of RoPE need heads of at least 8 features, got dim={dim} and heads={heads}")
        self.intake = Intake(channels, cond_dim, concat_channels=concat_channels, tokens=tokens)
        self.patch, self.head_dim, self.waves, self.base = tuple(patch), dim // heads, waves, base
        size = patch[0] * patch[1] * patch[2]
        boxes = (window[0], window[1], window[2])
        groupings: tuple[Grouping, Grouping] = {
            "full": (Full(), Full()), "divided": (Space(), Time()),
            "window": (Window(boxes), Window(boxes, shifted=True)),
        }[pattern]
        self.embedding = Embedding(dim, cond_dim, levels=patch[0])
        self.modulation = nn.Linear(dim, 6 * dim)
        self.stem = nn.Linear(channels * size, dim)
        self.maps = zero(nn.Linear(concat_channels * size, dim, bias=False)) if concat_channels else None
        self.blocks = nn.ModuleList(
            VideoBlock(
                dim, heads, grouping=groupings[i % 2], mlp_ratio=mlp_ratio,
                context_dim=cond_dim if tokens else None, backend=check_backend(backend),
            )
            for i in range(depth)
        )
        self.final = zero(nn.Linear(dim, 2 * dim))
        self.out = nn.Linear(dim, (head or channels) * size)
        self.head = Head(channels, head, dim) if head else None
        zero(self.modulation)
        if self.head is None:
            zero(self.out)

    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        inputs, size = self.intake(x, cond, mask), x.shape[2:]
        z = self.stem(self._patches(inputs.x, "b c (t p) (h q) (w r) -> b t h w (p q r c)"))
        if self.maps is not None and inputs.maps is not None:
            z = z + self.maps(self._patches(inputs.maps, "b c (t p) (h q) (w r) -> b t h w (c p q r)"))
        real = None if mask is None else self._any(mask)
        grid = grid_of(z)
        level = level[:, None].expand(-1, size[0]) if level.ndim == 1 else level
        levels = F.pad(level[:, None], (0, round_up(size[0], self.patch[0]) - size[0]), mode="replicate")[:, 0]
        embedding = self.embedding(rearrange(levels, "b (t p) -> b t p", p=self.patch[0]), inputs.vector)
        embedding = embedding[:, :, None, None]                                   # (B, T', 1, 1, D)
        if self.waves:
            z = z + axial_waves(grid, z.shape[-1], base=self.base, like=z)
        turns, modulation = axial_angles(grid, self.head_dim, base=self.base, like=x), self.modulation(embedding)
        for block in self.blocks:
            z = block(z, modulation, inputs, mask=real, angles=turns)
        shift, scale = self.final(embedding).chunk(2, dim=-1)
        p, q, r = self.patch
        out = rearrange(
            self.out(modulate(z, shift, scale)), "b t h w (p q r c) -> b c (t p) (h q) (w r)", p=p, q=q, r=r
        )
        less = [n for have, want in zip(out.shape[:1:-1], size[::-1], strict=True) for n in (0, want - have)]
        out = F.pad(out, less)                                        # a slice that cuts nothing is another graph
        if self.head is not None:
            each = embedding[:, :, 0, 0].repeat_interleave(p, 1)[:, : size[0]]    # (B, T, D)
            out = self.head(out, inputs.x, level, each, mask)
        return hide(out, mask)

    def _patches(self, x: Tensor, pattern: str) -> Tensor:
        p, q, r = self.patch
        axes = zip(x.shape[:1:-1], (r, q, p), strict=True)
        fill = [n for axis, step in axes for n in (0, round_up(axis, step) - axis)]
        return rearrange(F.pad(x, fill), pattern, p=p, q=q, r=r)

    def _any(self, mask: Tensor) -> Tensor:
        return reduce(self._patches(mask, "b 1 (t p) (h q) (w r) -> b t h w (p q r)"), "b t h w n -> b t h w", "any")
