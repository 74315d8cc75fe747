"""What a network is told of a jump: where it ends, and by what scale it is guided.

    told = W silu(V [features(level of r), features(1 - 1 / scale)] + v) + w,      W = 0 and w = 0 at first

The scale enters as 1 - 1 / scale, in [0, 1): bounded, and 0 without guidance.
"""

import torch
from torch import Tensor, nn

from .blocks import zero
from .embeddings import LevelFeatures


class JumpEmbedding(nn.Module):
    """``(level (B,), scale (B,)) -> (B, dim)``, to be added to the vector of a condition; zero at initialisation."""

    def __init__(self, dim: int):
        super().__init__()
        if not dim:
            raise ValueError("jumps are told through the vector of a condition, and this network takes none, as "
                             "nothing is told of its samples: give them a label (data.labels=)")
        self.level, self.scale = LevelFeatures(64), LevelFeatures(16, max_frequency=8.0)
        self.mlp = nn.Sequential(nn.Linear(80, dim), nn.SiLU(), zero(nn.Linear(dim, dim)))

    @torch.no_grad()
    def blank(self) -> None:
        """Tell nothing, and all of it 0: what is added by a change (``lora=``) is counted from there."""
        for parameter in self.parameters():
            parameter.zero_()

    def forward(self, level: Tensor, scale: Tensor) -> Tensor:
        return self.mlp(torch.cat([self.level(level), self.scale(1 - 1 / scale)], dim=-1))
