"""Attention over a grid of tokens (T', H', W'), whole or in groups that attend among themselves.

    full      one group                          N^2
    space     a group for each frame             N^2 / T'
    time      a group for each place             N^2 / (H' W')
    window    a group for each box of the grid   N |box|     every second layer's boxes are shifted by half a box

(Divided: Bertasius et al. 2021; shifted windows: Liu et al. 2022, Video Swin.) Queries and keys are turned by axial
RoPE before they are grouped, so a group never needs to know where it lies.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from .attention import attention
from .embeddings import angles, turn
from .tensors import round_up

GridSize = tuple[int, int, int]


def grid_of(x: Tensor) -> GridSize:
    """(T', H', W') of ``(B, T', H', W', ...)``."""
    return x.shape[1], x.shape[2], x.shape[3]


class Grouping(ABC):
    """A partition of the grid; ``split`` and ``join`` are inverse."""

    @abstractmethod
    def split(self, x: Tensor) -> Tensor:
        """``(B, T', H', W', ...)`` -> ``(B G, L, ...)``; what a group lacks is filled with 0 (False)."""

    @abstractmethod
    def join(self, x: Tensor, grid: GridSize) -> Tensor:
        """``(B G, L, ...)`` -> ``(B, T', H', W', ...)``."""

    def even(self, grid: GridSize) -> bool:
        """Whether every group is whole, so that nothing is filled in."""
        return True


class Full(Grouping):
    """Every token attends to every other."""

    def split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b t h w ... -> b (t h w) ...")

    def join(self, x: Tensor, grid: GridSize) -> Tensor:
        return x.unflatten(1, grid)


class Space(Grouping):
    """Within a frame."""

    def split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b t h w ... -> (b t) (h w) ...")

    def join(self, x: Tensor, grid: GridSize) -> Tensor:
        return rearrange(x, "(b t) (h w) ... -> b t h w ...", t=grid[0], h=grid[1])


class Time(Grouping):
    """Along time, at one place."""

    def split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b t h w ... -> (b h w) t ...")

    def join(self, x: Tensor, grid: GridSize) -> Tensor:
        return rearrange(x, "(b h w) t ... -> b t h w ...", h=grid[1], w=grid[2])


class Window(Grouping):
    """Boxes of ``size`` tokens; ``shifted`` starts them half a box earlier, where the grid is filled up."""

    def __init__(self, size: GridSize, *, shifted: bool = False):
        if min(size) < 1:
            raise ValueError(f"a window has at least one token along each axis, got {tuple(size)}")
        self.size, self.shift = tuple(size), tuple(n // 2 if shifted else 0 for n in size)

    def _fill(self, grid: GridSize) -> list[tuple[int, int]]:
        """(before, after) along each axis; never by the size of the grid alone, so that padding moves no boundary."""
        return [(a, round_up(n + a, box) - n - a) for n, a, box in zip(grid, self.shift, self.size, strict=True)]

    def even(self, grid: GridSize) -> bool:
        return all(fill == (0, 0) for fill in self._fill(grid))

    def split(self, x: Tensor) -> Tensor:
        pads = [n for fill in reversed(self._fill(grid_of(x))) for n in fill]
        x = F.pad(x, [0] * 2 * (x.ndim - 4) + pads)
        a, b, c = self.size
        return rearrange(x, "n (t a) (h b) (w c) ... -> (n t h w) (a b c) ...", a=a, b=b, c=c)

    def join(self, x: Tensor, grid: GridSize) -> Tensor:
        fill, (a, b, c) = self._fill(grid), self.size
        t, h, w = ((n + sum(f)) // box for n, f, box in zip(grid, fill, self.size, strict=True))
        x = rearrange(x, "(n t h w) (a b c) ... -> n (t a) (h b) (w c) ...", t=t, h=h, w=w, a=a, b=b, c=c)
        inside = (slice(before, before + n) for n, (before, _) in zip(grid, fill, strict=True))
        return x[(slice(None), *inside)]


class GridAttention(nn.Module):
    """``x`` ``(B, T', H', W', dim)`` attends within the groups of ``grouping``; ``mask`` ``(B, T', H', W')``."""

    def __init__(self, dim: int, heads: int, *, grouping: Grouping, backend: str = "auto"):
        super().__init__()
        if dim % (2 * heads):
            raise ValueError(f"dim must be a multiple of 2 heads, got dim={dim} and heads={heads}")
        self.heads, self.grouping, self.backend = heads, grouping, backend
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.scale = nn.Parameter(torch.ones(dim // heads))           # one for both: only the product q k matters
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, *, mask: Tensor | None, angles: Tensor) -> Tensor:
        """``angles`` ``(T', H', W', 1, dim / heads / 2)``."""
        grid = grid_of(x)
        q, k, v = rearrange(self.qkv(x), "... (three n d) -> three ... n d", three=3, n=self.heads)
        q, k = F.rms_norm(q, q.shape[-1:], eps=1e-6) * self.scale, F.rms_norm(k, k.shape[-1:], eps=1e-6)
        q, k = turn(q, angles), turn(k, angles)
        if mask is None and not self.grouping.even(grid):
            mask = x.new_ones(x.shape[0], *grid, dtype=torch.bool)
        q, k, v = (rearrange(self.grouping.split(y), "g l n d -> g n l d") for y in (q, k, v))
        out = attention(q, k, v, None if mask is None else self.grouping.split(mask), backend=self.backend)
        return self.out(self.grouping.join(rearrange(out, "g n l d -> g l (n d)"), grid))


def axial_angles(grid: GridSize, dim: int, *, base: float, like: Tensor) -> Tensor:
    """RoPE angles ``(T', H', W', 1, dim / 2)``: half of the channels turn with time, a quarter with each of y and x."""
    half = dim // 2
    dims = (half - 2 * (half // 4), half // 4, half // 4)
    axes = [
        angles(torch.arange(n, device=like.device, dtype=like.dtype), 2 * size, base=base)
        for n, size in zip(grid, dims, strict=True)
    ]
    t, h, w = grid
    return torch.cat([
        repeat(axes[0], "t d -> t h w 1 d", h=h, w=w), repeat(axes[1], "h d -> t h w 1 d", t=t, w=w),
        repeat(axes[2], "w d -> t h w 1 d", t=t, h=h),
    ], dim=-1)


def axial_waves(grid: GridSize, dim: int, *, base: float, like: Tensor) -> Tensor:
    """Sines and cosines of the position ``(T', H', W', dim)``, to be added to tokens (Vaswani et al. 2017, 3.5)."""
    phase = axial_angles(grid, dim, base=base, like=like)[..., 0, :]
    return torch.cat([phase.cos(), phase.sin()], dim=-1).to(like.dtype)
