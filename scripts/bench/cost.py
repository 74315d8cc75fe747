"""Time and memory of networks as their input grows, side by side: what the cost benches share."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mmdiff.core.types import Condition
from mmdiff.metrics.rows import Row, markdown


def step(net: nn.Module, x: Tensor) -> float:
    """Seconds of one forward and backward pass; on a CPU those of all its threads, whatever else the machine does."""
    clock = time.perf_counter if x.is_cuda else time.process_time
    if x.is_cuda:
        torch.cuda.synchronize()
    start = clock()
    net(x, torch.full((len(x),), 0.5, device=x.device)).square().mean().backward()
    if x.is_cuda:
        torch.cuda.synchronize()
    return clock() - start


def memory(net: nn.Module, x: Tensor, cond: Condition | None = None) -> float:
    """MiB that one forward pass keeps for the backward pass, weights not counted."""
    weights, kept = {p.untyped_storage().data_ptr() for p in net.parameters()}, {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)     # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        net(x, torch.full((len(x),), 0.5, device=x.device), cond)
    return sum(size for size, _ in kept.values()) / 2**20


def grown(
    inputs: Mapping[int, Tensor], make: Callable[[str], nn.Module], names: Sequence[str], *, rounds: int, unit: str
) -> list[Row]:
    """A row for each input; the networks ``make(name)`` take turns, and medians are shown."""
    rows = []
    for size, x in inputs.items():
        nets = {name: make(name).to(x.device) for name in names}
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds + 1):
            for name, net in nets.items():
                times[name].append(step(net, x))
        row = {unit: size} | {f"{name}, ms": 1000 * statistics.median(times[name][1:]) for name in names}
        rows.append(row | {f"{name}, MiB": memory(nets[name], x) for name in names})
        print(f"{size} {unit} done", file=sys.stderr)
    return rows


def bench(
    description: str, inputs: Mapping[int, tuple[int, ...]], make: Callable[[str], nn.Module], names: Sequence[str], *,
    unit: str, about: str,
) -> None:
    """The command: print the table for ``inputs`` (size to the shape of x), and draw it where ``--out`` asks for it."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also draw the table")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tensors = {size: torch.randn(*shape, device=device) for size, shape in inputs.items()}
    rows = grown(tensors, make, names, rounds=args.rounds, unit=unit)
    print(f"{device}, {args.threads} thread(s), {about}, float32\n")
    print(markdown(rows))
    if args.out:
        draw(rows, names, args.out, unit=unit)


def draw(rows: Sequence[Row], names: Sequence[str], path: Path, *, unit: str) -> None:
    """The table as a picture: time on the left, memory on the right, both logarithmic."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, measure in zip(figure.subplots(1, 2), ("ms", "MiB"), strict=True):
        for name in names:
            axis.loglog([r[unit] for r in rows], [r[f"{name}, {measure}"] for r in rows], "o-", label=name)
        axis.set(xlabel=unit, ylabel=f"{measure} a step")
        axis.grid(True, which="both", linewidth=0.3)
    figure.axes[0].legend()
    figure.savefig(path, dpi=110)
