"""A diffusion transformer over a set of points: no order, any number.

    z_i = W [x_i, cos(2 pi B x_i), sin(2 pi B x_i), features(level_i)],       B ~ N(0, scale^2), fixed
    z   = Block_l(z, e),  l = 1..depth;      out_i = W' m(z_i),   W' = 0 at initialisation

with adaLN-Zero blocks (Peebles & Xie 2023) and no positions (as Point-E, Nichol et al. 2022): permuting the points
permutes the output. Fourier features of the coordinates let a token tell near points apart (Tancik et al. 2020). The
level of a point that is given clean differs from the others': its token says so, and e is of the noisiest point.

``voxels`` adds to every second block what its points' surroundings hold (PVCNN, Liu et al. 2019): features are averaged
into a grid over [-RANGE, RANGE]^3, convolved, and read back by trilinear interpolation.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .attention import check_backend
from .blocks import TransformerBlock, hide, modulate, zero
from .embeddings import Embedding, LevelFeatures
from .inputs import CondLike, Intake
from .network import Network

RANGE = 3.0
"""Half the side of the voxel grid, in standard deviations of the noisy coordinates; what is beyond is in the last cell.
"""


class VoxelBranch(nn.Module):
    """``z`` ``(B, N, dim)`` at ``places`` ``(B, N, 3)`` -> ``(B, N, dim)``, zero at initialisation."""

    def __init__(self, dim: int, *, resolution: int, width: int = 32):
        super().__init__()
        if resolution < 2:
            raise ValueError(f"voxels is the number of cells along a side, at least 2; got {resolution}")
        self.resolution = resolution
        self.enter, self.leave = nn.Linear(dim, width), zero(nn.Linear(width, dim))
        self.mix = nn.Sequential(
            nn.Conv3d(width + 1, width, 3, padding=1), nn.SiLU(), nn.Conv3d(width, width, 3, padding=1), nn.SiLU()
        )

    def forward(self, z: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        unit = (positions / RANGE).clamp(-1, 1)                                   # (B, N, 3)
        grid = self.mix(self._gather(self.enter(z), unit, mask))                  # (B, W, R, R, R)
        where = unit.to(grid.dtype)[:, :, None, None].flip(-1)                    # last axis of the grid first
        read = F.grid_sample(grid, where, align_corners=True)                     # (B, W, N, 1, 1)
        return self.leave(rearrange(read, "b w n 1 1 -> b n w").contiguous())   # a copy, as in dit1d.py

    def _gather(self, h: Tensor, unit: Tensor, mask: Tensor | None) -> Tensor:
        """Mean features of each cell and whether any point is in it ``(B, W + 1, R, R, R)``."""
        r, batch = self.resolution, h.shape[0]
        cell = ((unit + 1) / 2 * (r - 1)).round().long()
        index = (cell[..., 0] * r + cell[..., 1]) * r + cell[..., 2]              # (B, N)
        real = torch.ones_like(h[..., :1]) if mask is None else mask[..., None].to(h)
        sums = h.new_zeros(batch, r**3, h.shape[-1] + 1)
        sums = sums.scatter_add(1, index[..., None].expand(-1, -1, h.shape[-1] + 1), torch.cat([h * real, real], -1))
        count = sums[..., -1:]
        mean = torch.cat([sums[..., :-1] / count.clamp(min=1), (count > 0).to(h)], -1)
        return rearrange(mean, "b (i j k) w -> b w i j k", i=r, j=r)


class PointDiT(Network):
    """``(x (B, channels, N), level (B,) or (B, N), cond, mask (B, 1, N)) -> (B, channels, N)``, any N.

    Permutation-equivariant, zero at initialisation. The first 3 channels are coordinates. ``frequencies``
    Fourier features of all channels, drawn at ``scale``; ``voxels`` cells along a side of the voxel branch (None =
    none); ``tokens`` adds cross-attention to ``cond.tokens``, ``concat_channels`` are those of ``cond.concat``, read
    beside x.
    """

    ordered = False
    waves: Tensor

    def __init__(
        self,
        channels: int,
        cond_dim: int,
        *,
        dim: int = 128,
        depth: int = 6,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        frequencies: int = 32,
        scale: float = 1.0,
        voxels: int | None = None,
        tokens: bool = False,
        concat_channels: int = 0,
        backend: str = "auto",
    ):
        super().__init__()
        if depth < 1 or frequencies < 0 or channels < 3:
            raise ValueError(
                f"need depth >= 1, frequencies >= 0 and at least the 3 channels of a point, got {depth}, {frequencies} "
                f"and {channels}"
            )
        self.intake = Intake(channels, cond_dim, concat_channels=concat_channels, tokens=tokens)
        self.register_buffer("waves", scale * torch.randn(channels, frequencies))
        self.level = LevelFeatures(16)
        self.embedding = Embedding(dim, cond_dim)
        self.stem = nn.Sequential(
            nn.Linear(channels + 2 * frequencies + 16, dim), nn.SiLU(), nn.Linear(dim, dim)
        )
        self.maps = zero(nn.Linear(concat_channels, dim, bias=False)) if concat_channels else None
        self.blocks = nn.ModuleList(
            TransformerBlock(
                dim, heads, dim, mlp_ratio=mlp_ratio, context_dim=cond_dim if tokens else None,
                backend=check_backend(backend),
            )
            for _ in range(depth)
        )
        self.voxels = nn.ModuleDict(
            {str(i): VoxelBranch(dim, resolution=voxels) for i in range(0, depth, 2)} if voxels else {}
        )
        self.modulation = zero(nn.Linear(dim, 2 * dim))
        self.out = zero(nn.Linear(dim, channels))

    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        inputs = self.intake(x, cond, mask)
        points = rearrange(inputs.x, "b c n -> b n c")
        real = None if mask is None else mask[:, 0]
        each = level[:, None].expand(points.shape[:2]) if level.ndim == 1 else level
        noisiest = level if level.ndim == 1 else (each if real is None else each.where(real, 0)).amax(1)
        embedding = self.embedding(noisiest, inputs.vector)                       # (B, D)
        phase = 2 * math.pi * points @ self.waves
        z = self.stem(torch.cat([points, phase.cos(), phase.sin(), self.level(each)], dim=-1))
        if self.maps is not None and inputs.maps is not None:
            z = z + self.maps(inputs.maps.mT)
        for i, block in enumerate(self.blocks):
            z = block(z, embedding, inputs, mask=real)
            if str(i) in self.voxels:
                z = z + self.voxels[str(i)](z, points[..., :3], real)
        shift, scale = self.modulation(embedding)[:, None].chunk(2, dim=-1)
        return hide(rearrange(self.out(modulate(z, shift, scale)), "b n c -> b c n"), mask)
