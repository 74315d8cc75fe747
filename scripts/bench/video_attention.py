"""Time and memory of the three attention patterns of ``VideoDiT`` as tokens grow.

    python scripts/bench/video_attention.py [--out docs/img/video_attention.png]

One step is a forward and a backward pass of one clip; the patterns take turns, and medians are shown. Memory is what
the forward pass keeps for the backward pass.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

from mmdiff.evaluation.report import markdown
from mmdiff.nn.video_dit import PATTERNS, VideoDiT

GRIDS = {64: (4, 4, 4), 256: (4, 8, 8), 1024: (4, 16, 16), 2048: (8, 16, 16), 4096: (16, 16, 16)}
"""Tokens to (frames, height, width) of the grid."""
DIM, DEPTH, HEADS, CHANNELS = 192, 6, 6, 16


def network(pattern: str, device: str) -> VideoDiT:
    torch.manual_seed(0)
    return VideoDiT(
        CHANNELS, 0, dim=DIM, depth=DEPTH, heads=HEADS, patch=(1, 1, 1), pattern=pattern, window=(4, 4, 4)
    ).to(device)


def step(net: VideoDiT, x: torch.Tensor) -> float:
    """Seconds of one forward and backward pass."""
    if x.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    net(x, torch.full((len(x),), 0.5, device=x.device)).square().mean().backward()
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def memory(net: VideoDiT, x: torch.Tensor) -> float:
    """MiB that one forward pass keeps for the backward pass, weights not counted."""
    weights, kept = {p.untyped_storage().data_ptr() for p in net.parameters()}, {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)     # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        net(x, torch.full((len(x),), 0.5, device=x.device))
    return sum(size for size, _ in kept.values()) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also draw the table")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for tokens, grid in GRIDS.items():
        nets, x = {p: network(p, device) for p in PATTERNS}, torch.randn(1, CHANNELS, *grid, device=device)
        times: dict[str, list[float]] = {p: [] for p in PATTERNS}
        for _ in range(args.rounds + 1):
            for pattern, net in nets.items():
                times[pattern].append(step(net, x))
        row = {"tokens": tokens, "grid": " x ".join(map(str, grid))}
        row |= {f"{p}, ms": 1000 * statistics.median(times[p][1:]) for p in PATTERNS}
        row |= {f"{p}, MiB": memory(nets[p], x) for p in PATTERNS}
        rows.append(row)
        print(f"{tokens} tokens done", file=sys.stderr)
    print(f"{device}, {args.threads} thread(s), dim {DIM}, {DEPTH} blocks, windows of 4 x 4 x 4, one clip, float32\n")
    print(markdown(rows))
    if args.out:
        draw(rows, args.out)


def draw(rows: list[dict], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, unit in zip(figure.subplots(1, 2), ("ms", "MiB"), strict=True):
        for pattern in PATTERNS:
            axis.loglog([r["tokens"] for r in rows], [r[f"{pattern}, {unit}"] for r in rows], "o-", label=pattern)
        axis.set(xlabel="tokens", ylabel=f"{unit} a step")
        axis.grid(True, which="both", linewidth=0.3)
    figure.axes[0].legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
