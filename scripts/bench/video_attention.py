"""Time and memory of the three attention patterns of ``VideoDiT`` as tokens grow.

    python scripts/bench/video_attention.py [--out docs/img/video_attention.png]

One step is a forward and a backward pass of one clip. Memory is what the forward pass keeps for the backward pass.
"""

import argparse
from pathlib import Path

import torch
from cost import draw, grown

from mmdiff.evaluation.report import markdown
from mmdiff.nn.video_dit import PATTERNS, VideoDiT

GRIDS = {64: (4, 4, 4), 256: (4, 8, 8), 1024: (4, 16, 16), 2048: (8, 16, 16), 4096: (16, 16, 16)}
"""Tokens to (frames, height, width) of the grid."""
DIM, DEPTH, HEADS, CHANNELS = 192, 6, 6, 16


def network(pattern: str) -> VideoDiT:
    torch.manual_seed(0)
    return VideoDiT(
        CHANNELS, 0, dim=DIM, depth=DEPTH, heads=HEADS, patch=(1, 1, 1), pattern=pattern, window=(4, 4, 4)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also draw the table")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs = {tokens: torch.randn(1, CHANNELS, *grid, device=device) for tokens, grid in GRIDS.items()}
    rows = grown(inputs, network, PATTERNS, rounds=args.rounds, unit="tokens")
    print(f"{device}, {args.threads} thread(s), dim {DIM}, {DEPTH} blocks, windows of 4 x 4 x 4, one clip, float32\n")
    print(markdown(rows))
    if args.out:
        draw(rows, PATTERNS, args.out, unit="tokens")


if __name__ == "__main__":
    main()
