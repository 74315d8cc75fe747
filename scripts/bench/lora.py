"""What a low-rank change costs: time of a training step and of a forward pass, and the size of its file.

    python scripts/bench/lora.py [--rank 8] [--device cuda]

A training step is a forward and a backward pass and one of AdamW; everything takes turns, and medians of the ratios are
shown. "Merged" is the changed model as ``mmdiff sample`` runs it. Two blocks as those of a billion parameters follow,
with what a forward pass keeps for the backward pass: computed by way of a changed weight, and around it.
"""

import argparse
import copy
import math
import statistics
import time

import torch
from cost import memory
from safetensors.torch import save
from torch import Tensor, nn

from mmdiff.core.types import Condition
from mmdiff.metrics.rows import markdown
from mmdiff.nn import lora
from mmdiff.nn.dit1d import DiT1d
from mmdiff.nn.point_dit import PointDiT
from mmdiff.nn.unet1d import UNet1d
from mmdiff.nn.video_dit import VideoDiT

COND = 256
NETWORKS = {
    "UNet1d (audio)": (lambda: UNet1d(80, COND), (16, 80, 64)),
    "DiT1d (audio_dit)": (lambda: DiT1d(80, COND), (16, 80, 64)),
    "VideoDiT (video)": (lambda: VideoDiT(3, COND), (4, 3, 8, 32, 32)),
    "PointDiT (points)": (lambda: PointDiT(3, COND), (8, 3, 512)),
}
LARGE = (lambda: DiT1d(64, COND, dim=2048, depth=2, heads=16), (1, 64, 256))
"""Blocks of 88 million parameters each."""
KINDS = ("whole", "LoRA", "DoRA", "merged")


class Case:
    """A network, what it is given, and its optimizer."""

    def __init__(self, network: nn.Module, shape: tuple[int, ...], device: str):
        torch.manual_seed(0)
        self.network = network.to(device)
        self.x = torch.randn(shape, device=device)
        self.level = torch.rand(len(self.x), device=device)
        self.cond = Condition(torch.randn(len(self.x), COND, device=device))
        self.optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad] or [Tensor()])

    def forward(self) -> None:
        with torch.no_grad():
            self.network(self.x, self.level, self.cond)

    def step(self) -> None:
        self.network(self.x, self.level, self.cond).square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def seconds(self, name: str) -> float:
        """Of a pass; on a CPU those of its threads, whatever else the machine does."""
        clock = time.perf_counter if self.x.is_cuda else time.process_time
        if self.x.is_cuda:
            torch.cuda.synchronize()
        start = clock()
        getattr(self, name)()
        if self.x.is_cuda:
            torch.cuda.synchronize()
        return clock() - start


def of_kind(network: nn.Module, kind: str, rank: int) -> nn.Module:
    network = copy.deepcopy(network)
    if kind != "whole":
        lora.add(network, rank, dora=kind == "DoRA")
    if kind == "merged":
        lora.merge(network)
    return network


def costs(make, shape: tuple[int, ...], rank: int, device: str, rounds: int) -> dict[str, str]:
    """A row: ratios to the whole network's, and sizes of files."""
    network = make()
    cases = {kind: Case(of_kind(network, kind, rank), shape, device) for kind in KINDS}
    ratios: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        for name in ("step", "forward"):
            used = KINDS if name == "forward" else KINDS[:3]
            took = {kind: cases[kind].seconds(name) for kind in used}
            for kind in used[1:] if turn else ():
                ratios.setdefault(f"{name}, {kind}", []).append(took[kind] / took["whole"])
    whole = len(save({name: value.contiguous() for name, value in network.state_dict().items()}))
    change = len(save({name: value.cpu() for name, value in lora.tensors_of(cases["LoRA"].network).items()}))
    row = {name: f"{statistics.median(values):.2f}" for name, values in ratios.items()}
    return row | {"whole, MB": f"{whole / 1e6:.1f}", "change, MB": f"{change / 1e6:.2f}"}


def large(rank: int, device: str, rounds: int) -> list[dict[str, str]]:
    """Rows of the large blocks: seconds of a step, and what its forward pass keeps."""
    cases, least = {}, lora.LARGE
    for name, kind, size in (("whole", "whole", least), ("by way of W", "LoRA", math.inf), ("around W", "LoRA", least)):
        cases[name] = size, Case(of_kind(LARGE[0](), kind, rank), LARGE[1], device)
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds + 1):
        for name, (size, case) in cases.items():
            lora.LARGE = size
            times[name].append(case.seconds("step"))
    rows = []
    for name, (size, case) in cases.items():
        lora.LARGE = size
        ratio = statistics.median(b / a for a, b in zip(times["whole"][1:], times[name][1:], strict=True))
        kept = memory(case.network, case.x, case.cond)
        rows.append({"": name, "step": f"{ratio:.2f}", "kept, MiB": f"{kept:.0f}"})
    lora.LARGE = least
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    if args.device == "cpu":
        torch.set_num_threads(1)
    table = [{"": name, **costs(*case, args.rank, args.device, args.rounds)} for name, case in NETWORKS.items()]
    print(markdown(table))
    print(f"\n{markdown(large(args.rank, args.device, 3))}")
