"""Sets of points to a few tokens and back to any number of points, by attention alone.

    in     tokens = learned queries;  tokens <- tokens + Cross(tokens, points);   then blocks among the tokens
    out    seeds in a cube;           seeds  <- seeds  + Cross(seeds, tokens);    each seed becomes a point by itself

What goes in has no order (Lee et al. 2019, Set Transformer, section 3.1), and since seeds do not see each other, what
comes out may be as many as wanted. Seeds are an additive recurrence, x_n = frac(1/2 + n a): any first n of them fill
the cube evenly (Roberts 2018, with the real root of a^4 = a + 1).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Attention

ROOT = 1.2207440846057596
BANDS = 4


class SetBlock(nn.Module):
    """``x`` ``(B, N, dim)`` attends to itself, or to ``context`` ``(B, M, dim)``, and thinks."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(dim), Attention(dim, heads)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.norm(x), context, mask=mask)
        return x + self.mlp(x)


class SetEncoder(nn.Module):
    """``(B, channels, N)``, with ``mask`` ``(B, 1, N)`` -> ``(B, out, tokens)``; places are the first 3 channels."""

    def __init__(self, channels: int, out: int, *, tokens: int, width: int, depth: int, heads: int):
        super().__init__()
        self.enter = nn.Linear(channels + 6 * BANDS, width)
        self.queries = nn.Parameter(torch.randn(tokens, width) / width**0.5)
        self.read = nn.ModuleList(SetBlock(width, heads) for _ in range(2))
        self.blocks = nn.ModuleList(SetBlock(width, heads) for _ in range(depth))
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, out)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x if mask is None else torch.where(mask, x, 0)
        points = F.gelu(self.enter(torch.cat([x.mT, waves(x[:, :3].mT)], -1)))    # (B, N, width)
        h = self.queries.expand(len(x), -1, -1)
        for block in self.read:
            h = block(h, points, None if mask is None else mask[:, 0])
        for block in self.blocks:
            h = block(h)
        return self.leave(self.norm(h)).mT


class SetDecoder(nn.Module):
    """``(B, latent, tokens)`` and a number of points N -> ``(B, channels, N)``."""

    def __init__(self, latent: int, channels: int, *, tokens: int, width: int, depth: int, heads: int):
        super().__init__()
        self.enter = nn.Linear(latent, width)
        self.places = nn.Parameter(torch.randn(tokens, width) / width**0.5)
        self.blocks = nn.ModuleList(SetBlock(width, heads) for _ in range(depth))
        self.seed = nn.Linear(3 + 6 * BANDS, width)
        self.write = nn.ModuleList(SetBlock(width, heads) for _ in range(2))
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, channels)

    def forward(self, z: Tensor, count: int, *, chunk: int = 4096) -> Tensor:
        h = self.enter(z.mT) + self.places
        for block in self.blocks:
            h = block(h)
        parts = [self._points(h, part) for part in seeds(count).to(z).split(chunk)]
        return torch.cat(parts, 1).mT

    def _points(self, h: Tensor, positions: Tensor) -> Tensor:
        x = self.seed(torch.cat([positions, waves(positions)], -1)).expand(len(h), -1, -1)
        for block in self.write:
            x = block(x, h)
        return self.leave(self.norm(x))


def waves(positions: Tensor) -> Tensor:
    """``(..., 3)`` -> ``(..., 6 BANDS)``: sine and cosine of each coordinate, each band twice as fine."""
    turns = (positions[..., None] * (torch.pi * 2.0 ** torch.arange(BANDS, device=positions.device))).flatten(-2)
    return torch.cat([turns.sin(), turns.cos()], -1)


def seeds(count: int) -> Tensor:
    """``(count, 3)`` in [-1, 1], the first of a sequence that fills the cube evenly."""
    steps = ROOT ** -torch.arange(1, 4, dtype=torch.float64)
    x = (0.5 + torch.arange(count, dtype=torch.float64)[:, None] * steps) % 1
    return (2 * x - 1).float()
