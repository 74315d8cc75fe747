"""Time and memory of the three attention patterns of ``VideoDiT`` as tokens grow.

    python scripts/bench/video_attention.py [--out docs/img/video_attention.png]

One step is a forward and a backward pass of one clip; the patterns take turns, and medians are shown. Memory is what
a step adds to the process (on a GPU: the allocator's peak), each measured in a process of its own.
"""

import argparse
import json
import resource
import statistics
import subprocess
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


def memory(pattern: str, tokens: int, device: str) -> float:
    """MiB that a step adds."""
    net, x = network(pattern, device), torch.randn(1, CHANNELS, *GRIDS[tokens], device=device)
    step(net, torch.randn(1, CHANNELS, 1, 1, 1, device=device))
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(net, x)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step(net, x)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also draw the table")
    parser.add_argument("--memory", nargs=2, metavar=("PATTERN", "TOKENS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.memory:
        print(json.dumps(memory(args.memory[0], int(args.memory[1]), device)))
        return
    rows = []
    for tokens, grid in GRIDS.items():
        nets, x = {p: network(p, device) for p in PATTERNS}, torch.randn(1, CHANNELS, *grid, device=device)
        times: dict[str, list[float]] = {p: [] for p in PATTERNS}
        for _ in range(args.rounds + 1):
            for pattern, net in nets.items():
                times[pattern].append(step(net, x))
        row = {"tokens": tokens, "grid": " x ".join(map(str, grid))}
        row |= {f"{p}, ms": 1000 * statistics.median(times[p][1:]) for p in PATTERNS}
        for pattern in PATTERNS:
            command = [sys.executable, __file__, "--memory", pattern, str(tokens), "--threads", str(args.threads)]
            row[f"{pattern}, MiB"] = json.loads(subprocess.check_output(command))
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
