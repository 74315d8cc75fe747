"""Time and memory of the three attention patterns of ``VideoDiT`` as tokens grow.

    python scripts/bench/video_attention.py [--out docs/img/video_attention.png]

One step is a forward and a backward pass of one clip. Memory is what the forward pass keeps for the backward pass.
"""

import torch
from cost import bench

from mmdiff.nn.video_dit import PATTERNS, VideoDiT

GRIDS = {64: (4, 4, 4), 256: (4, 8, 8), 1024: (4, 16, 16), 2048: (8, 16, 16), 4096: (16, 16, 16)}
"""Tokens to (frames, height, width) of the grid."""
DIM, DEPTH, HEADS, CHANNELS = 192, 6, 6, 16


def network(pattern: str) -> VideoDiT:
    torch.manual_seed(0)
    return VideoDiT(
        CHANNELS, 0, dim=DIM, depth=DEPTH, heads=HEADS, patch=(1, 1, 1), pattern=pattern, window=(4, 4, 4)
    )


if __name__ == "__main__":
    bench(
        __doc__, {tokens: (1, CHANNELS, *grid) for tokens, grid in GRIDS.items()}, network, PATTERNS, unit="tokens",
        about=f"dim {DIM}, {DEPTH} blocks, windows of 4 x 4 x 4, one clip",
    )
