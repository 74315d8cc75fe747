"""Time and memory of ``PointDiT`` as points grow, without and with the voxel branch.

    python scripts/bench/points_cost.py [--out docs/img/points_cost.png]

One step is a forward and a backward pass of one cloud. Memory is what the forward pass keeps for the backward pass.
"""

import argparse
from pathlib import Path

import torch
from cost import draw, grown

from mmdiff.evaluation.report import markdown
from mmdiff.nn.point_dit import PointDiT

POINTS = (256, 512, 1024, 2048, 4096, 8192)
DIM, DEPTH, HEADS, VOXELS = 128, 6, 4, 16
NAMES = ("attention", "attention and voxels")


def network(name: str) -> PointDiT:
    torch.manual_seed(0)
    return PointDiT(3, 0, dim=DIM, depth=DEPTH, heads=HEADS, voxels=VOXELS if name == NAMES[1] else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also draw the table")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs = {count: torch.randn(1, 3, count, device=device) for count in POINTS}
    rows = grown(inputs, network, NAMES, rounds=args.rounds, unit="points")
    print(f"{device}, {args.threads} thread(s), dim {DIM}, {DEPTH} blocks, {VOXELS}^3 voxels, one cloud, float32\n")
    print(markdown(rows))
    if args.out:
        draw(rows, NAMES, args.out, unit="points")


if __name__ == "__main__":
    main()
