"""Numbers to vectors: the noise level, and positions.

    level      features(u) = [cos(w_i u), sin(w_i u)],    w_i = pi max^(i / (n - 1)),  u in [0, 1]
    embedding  e = silu(MLP(features(u)) + W vector)
    RoPE       pairs (x_i, x_{i + D/2}) turned by the angle p base^(-2i / D) at position p, so that
               <turn(q, p), turn(k, p')> depends on p - p' only          (Su et al. 2021, eq. 15)

Axial RoPE over several axes is the concatenation of ``angles`` of each, every axis taking a share of D.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LevelFeatures(nn.Module):
    """Noise level ``(...)`` in [0, 1] -> ``(..., dim)``, from half a turn to ``max_frequency`` half turns."""

    frequencies: Tensor

    def __init__(self, dim: int, *, max_frequency: float = 256.0):
        super().__init__()
        if dim < 4 or dim % 2:
            raise ValueError(f"the features of the level need an even dim of at least 4, got {dim}")
        frequencies = math.pi * max_frequency ** torch.linspace(0, 1, dim // 2, dtype=torch.float64)
        self.register_buffer("frequencies", frequencies.float(), persistent=False)

    def forward(self, level: Tensor) -> Tensor:
        wide = torch.promote_types(level.dtype, torch.float32)        # a phase of 256 pi has no digits left in bfloat16
        phase = level.to(wide)[..., None] * self.frequencies.to(wide)
        return torch.cat([phase.cos(), phase.sin()], dim=-1).to(level.dtype)


class Embedding(nn.Module):
    """Noise level ``(B,)`` and condition vector ``(B, cond_dim)`` or None -> ``(B, dim)``, ready for a projection.

    With ``levels``, the number of frames that share a token, levels are ``(B, T', levels)`` and give ``(B, T', dim)``.
    """

    def __init__(self, dim: int, cond_dim: int, *, features: int = 64, levels: int | None = None):
        super().__init__()
        self.levels, self.cond_dim = levels, cond_dim
        flat = [] if levels is None else [nn.Flatten(2)]
        self.level = nn.Sequential(
            LevelFeatures(features), *flat, nn.Linear(features * (levels or 1), dim), nn.SiLU(), nn.Linear(dim, dim)
        )
        self.vector = nn.Linear(cond_dim, dim, bias=False) if cond_dim else None

    def forward(self, level: Tensor, vector: Tensor | None = None) -> Tensor:
        if level.ndim != (1 if self.levels is None else 3):
            wanted = "one noise level a sample, (B,)" if self.levels is None else f"levels (B, T', {self.levels})"
            raise ValueError(f"expected {wanted}, got {tuple(level.shape)}")
        embedding = self.level(level)
        if vector is not None:
            if self.vector is None or vector.shape != (level.shape[0], self.cond_dim):
                raise ValueError(
                    f"expected cond.vector of shape {(level.shape[0], self.cond_dim)}, got {tuple(vector.shape)}: "
                    "build the network with cond_dim = conditioner.dim"
                )
            conditioning = self.vector(vector)
            embedding = embedding + (conditioning if self.levels is None else conditioning[:, None])
        return F.silu(embedding)


def angles(positions: Tensor, dim: int, *, base: float = 10_000.0) -> Tensor:
    """RoPE angles of ``positions`` ``(..., N)`` for ``dim`` (even) channels: ``(..., N, dim / 2)``, in radians."""
    if dim % 2:
        raise ValueError(f"RoPE turns pairs of channels: dim must be even, got {dim}")
    wide = positions.dtype if positions.dtype == torch.float64 else torch.float32
    exponents = torch.arange(0, dim, 2, device=positions.device, dtype=wide) / dim
    return positions.to(wide)[..., None] * base**-exponents


def turn(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate ``x`` ``(..., N, D)`` by ``angles`` ``(N, D / 2)``, or any shape that broadcasts; keeps the dtype of x."""
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
