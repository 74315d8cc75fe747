"""Time and memory of ``PointDiT`` as points grow, without and with the voxel branch.

    python scripts/bench/points_cost.py [--out docs/img/points_cost.png]

One step is a forward and a backward pass of one cloud. Memory is what the forward pass keeps for the backward pass.
"""

import torch
from cost import bench

from mmdiff.nn.point_dit import PointDiT

POINTS = (256, 512, 1024, 2048, 4096, 8192)
DIM, DEPTH, HEADS, VOXELS = 128, 6, 4, 16
NAMES = ("attention", "attention and voxels")


def network(name: str) -> PointDiT:
    torch.manual_seed(0)
    return PointDiT(3, 0, dim=DIM, depth=DEPTH, heads=HEADS, voxels=VOXELS if name == NAMES[1] else None)


if __name__ == "__main__":
    bench(
        __doc__, {count: (1, 3, count) for count in POINTS}, network, NAMES, unit="points",
        about=f"dim {DIM}, {DEPTH} blocks, {VOXELS}^3 voxels, one cloud",
    )
