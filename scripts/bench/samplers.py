"""Samplers against other libraries: accuracy per network call, and time per step outside the network.

    python scripts/bench/samplers.py accuracy [--quick] [--development] [--seeds N] [--out FILE]
    python scripts/bench/samplers.py overhead [--quick] [--out FILE]

Accuracy: Gaussian mixtures, whose denoiser and guided denoiser are exact; error of x0 to the exact endpoint of the ODE
from the same noise, over the RMS of the data. Every library is credited with the best of all its solvers and grids for
each cell, found on the mixtures of the table itself; ``Auto`` is as shipped, and was chosen on the mixtures that
``--development`` selects. Libraries are an extra (``pip install mmdiff[bench]``); a missing one is a row that says so.
"""

import argparse
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import sampler_peers
import torch
from torch import Tensor

from mmdiff.core.grids import Power
from mmdiff.core.samplers import AdamsPC, Auto, DPMSolverPP2M, Euler
from mmdiff.core.schedules import Linear, Schedule, VarianceExploding
from mmdiff.testing import Mixture, denoiser, endpoint, guided

CALLS = (5, 10, 20, 50)
SCHEDULES = {"karras": VarianceExploding(0.002, 80.0), "flow": Linear()}
FAMILIES = {  # components, dimensions, spread of means, smallest and largest standard deviation
    "survey": (16, 64, 0.6, 0.05, 0.7),
    "tight": (16, 64, 1.0, 0.02, 0.1),
    "wide": (8, 64, 0.5, 0.3, 1.0),
    "few": (4, 64, 0.8, 0.05, 0.7),
    "many": (64, 64, 0.7, 0.05, 0.5),
    "two-dimensional": (8, 2, 1.0, 0.05, 0.5),
}
Score = tuple[float, float]
"""Median and root mean square over trajectories."""
Rows = dict[str, dict[int, list[tuple[str, list[Score]]]]]
"""Row of a table -> calls -> every setting tried, with its score on every mixture."""


def mixture(family: str, seed: int) -> Mixture:
    """A random mixture, scaled to RMS 1 (as latents are whitened) but for the family ``survey``."""
    components, dimensions, spread, low, high = FAMILIES[family]
    generator = torch.Generator().manual_seed(seed)
    means = spread * torch.randn(components, dimensions, generator=generator, dtype=torch.float64)
    uniform = torch.rand(components, dimensions, generator=generator, dtype=torch.float64)
    stds = low * (high / low) ** uniform
    weights = torch.rand(components, generator=generator, dtype=torch.float64) + 0.2
    made = Mixture(weights, means, stds)
    return made if family == "survey" else Mixture(weights, means / made.rms, stds / made.rms)


class Problem:
    """One mixture, schedule and guidance, with the exact endpoints of ``count`` trajectories."""

    def __init__(self, family: str, seed: int, kind: str, scale: float, count: int):
        data = mixture(family, seed)
        condition = data.subset(max(1, len(data.weights) // 4))
        self.name, self.rms, self.kind = f"{family} {seed}", data.rms, kind
        self.field = (
            data.posterior_mean if scale == 1 else guided(condition.posterior_mean, data.posterior_mean, scale)
        )
        generator = torch.Generator().manual_seed(1000 + seed)
        noise = torch.randn(count, data.means.shape[1], generator=generator, dtype=torch.float64)
        alpha, sigma = (1.0, 80.0) if kind == "karras" else (0.0, 1.0)
        self.x1 = sigma * noise
        self.exact = endpoint(self.field, self.x1, alpha, sigma, steps=800)

    def score(self, x0: Tensor) -> Score:
        """Infinite where a solver failed."""
        error = (x0.double() - self.exact).square().mean(1).sqrt() / self.rms
        error = error.nan_to_num(math.inf)
        return float(error.median()), float(error.square().mean().sqrt())


def attempt(solve: sampler_peers.Solver, problem: Problem, grid: sampler_peers.Grid, calls: int) -> Score:
    """A solver that raises at this number of calls has failed, and is not the best."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return problem.score(solve(problem.field, problem.x1, grid, calls))
        except (ValueError, IndexError, UnboundLocalError, AssertionError, torch.linalg.LinAlgError):
            return math.inf, math.inf


def auto(problem: Problem, schedule: Schedule, calls: int) -> Score:
    return problem.score(Auto(calls)(denoiser(problem.field, schedule), problem.x1, schedule))


def geometric(values: list[float]) -> float:
    """Geometric mean; infinite if any is."""
    return math.exp(sum(math.log(max(v, 1e-12)) for v in values) / len(values)) if max(values) < math.inf else math.inf


def ours_on(kind: str) -> Callable[[int], list[float]]:
    """The grid of ``Auto`` as levels, to separate what the grid gives from what the solver gives."""
    schedule = SCHEDULES[kind]
    return lambda n: schedule.level(Auto(n).grid(schedule, n)).sigma.tolist()


def accuracy(quick: bool, development: bool, seeds: int) -> Iterator[str]:
    """The tables of accuracy, as Markdown lines, each when it is ready."""
    first = 0 if development else 100
    families = ["survey", "wide"] if quick else list(FAMILIES)
    yield (
        f"{len(families)} families of mixtures ({', '.join(families)}), {seeds} of each from seed {first}, 48 "
        "trajectories. Cells: geometric mean over the mixtures of the median [RMS] over trajectories. `ratio`: Auto "
        "over the best peer by the same measure (below 1: Auto is better). `lost`: on how many single mixtures some "
        "peer, at the setting that suits this mixture best, has the smaller median, and the worst factor. "
        "`our grid`: the peers on the grid of Auto, which none of them offers; it tells what the grid gives from what "
        "the solver gives."
    )
    for kind, schedule in SCHEDULES.items():
        solvers, missing = sampler_peers.installed(kind)
        grids = {**sampler_peers.grids(kind), "our grid": ours_on(kind)}
        for scale in (1, 4):
            problems = [Problem(f, first + i, kind, scale, 48) for f in families for i in range(seeds)]
            rows: Rows = {}
            for calls, (library, found) in itertools.product(CALLS, solvers.items()):
                for (name, solve), (grid_name, grid) in itertools.product(found.items(), grids.items()):
                    scores = [attempt(solve, problem, grid, calls) for problem in problems]
                    row, label = (library, f"{name}, {grid_name}") if grid_name != "our grid" else (grid_name, name)
                    rows.setdefault(row, {}).setdefault(calls, []).append((label, scores))
            rows["**Auto**"] = {calls: [("", [auto(p, schedule, calls) for p in problems])] for calls in CALLS}
            yield from table(f"{kind}, guidance {scale}", rows, missing, [p.name for p in problems])


def table(title: str, rows: Rows, missing: dict[str, str], names: list[str]) -> list[str]:
    """One schedule and guidance."""
    lines = ["", f"### {title}", "", "| | " + " | ".join(f"{n} calls" for n in CALLS) + " |", "|---" * 5 + "|"]
    for row, cells in rows.items():
        texts = []
        for calls in CALLS:
            label, scores = min(cells[calls], key=lambda entry: geometric([s[0] for s in entry[1]]))
            texts.append(f"{geometric([s[0] for s in scores]):.1e} [{geometric([s[1] for s in scores]):.1e}] {label}")
        lines.append(f"| {row} | " + " | ".join(texts) + " |")
    lines += [f"| {library} | {reason} | | | |" for library, reason in missing.items()]
    peers = [row for row in rows if row in sampler_peers.LIBRARIES]
    if not peers:
        return lines
    ratios, lost = [], []
    for calls in CALLS:
        ours = rows["**Auto**"][calls][0][1]
        theirs = [scores for row in peers for _, scores in rows[row][calls]]
        median, rms = (
            geometric([s[k] for s in ours]) / min(geometric([s[k] for s in scores]) for scores in theirs)
            for k in (0, 1)
        )
        ratios.append(f"{median:.2f} [{rms:.2f}]")
        single = [ours[i][0] / min(scores[i][0] for scores in theirs) for i in range(len(ours))]
        worst = max(range(len(single)), key=single.__getitem__)
        count = sum(ratio > 1 for ratio in single)
        lost.append(f"{count} of {len(single)}" + (f", {single[worst]:.2f} ({names[worst]})" if count else ""))
    return [*lines, "| **ratio** | " + " | ".join(ratios) + " |", "| lost | " + " | ".join(lost) + " |"]


def overhead(quick: bool) -> list[str]:
    """Microseconds of this thread's CPU time per step outside the network, 50 steps, set-up of the steps included."""
    x1, x0 = torch.randn(2, 4, 4, 64, 64)
    steps, rounds = 50, 5 if quick else 30

    def ours(sampler) -> Callable[[], Tensor]:
        return lambda: sampler(lambda x, t: x0, x1, SCHEDULES["karras"])

    runs: dict[str, Callable[[], Tensor]] = {
        "one fused addition": lambda: [torch.add(x1, x0, alpha=0.5) for _ in range(steps)],
        "mmdiff Euler": ours(Euler(steps)),
        "mmdiff DPM-Solver++ 2M": ours(DPMSolverPP2M(steps)),
        "mmdiff Adams 2, corrector 3": ours(AdamsPC(steps, Power())),
        "mmdiff Auto": ours(Auto(steps)),
    }
    missing = []
    try:
        from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

        def scheduler_run(cls) -> Callable[[], Tensor]:
            def run() -> Tensor:
                scheduler, x = cls(prediction_type="sample"), x1
                scheduler.set_timesteps(steps)
                for t in scheduler.timesteps:
                    x = scheduler.step(x0, t, scheduler.scale_model_input(x, t)).prev_sample
                return x

            return run

        runs["diffusers DPM-Solver++ 2M"] = scheduler_run(DPMSolverMultistepScheduler)
        runs["diffusers UniPC"] = scheduler_run(UniPCMultistepScheduler)
    except ImportError:
        missing.append("diffusers")
    try:
        from k_diffusion import sampling

        sigmas = sampling.get_sigmas_karras(steps, 0.002, 80)
        runs["k-diffusion dpmpp_2m"] = lambda: sampling.sample_dpmpp_2m(lambda x, s: x0, x1, sigmas, disable=True)
    except ImportError:
        missing.append("k-diffusion")
    best = dict.fromkeys(runs, math.inf)
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.thread_time()
            run()
            best[name] = min(best[name], (time.thread_time() - began) / steps * 1e6)
    reference = best.get("diffusers DPM-Solver++ 2M", math.nan)
    lines = ["", "### Time outside the network, (4, 4, 64, 64), float32, one thread", ""]
    lines += ["| sampler | us a step | of diffusers' DPM-Solver++ 2M |", "|---|---|---|"]
    lines += [f"| {name} | {value:.0f} | {value / reference:.2f} |" for name, value in best.items()]
    return lines + [f"| {library} | not installed | |" for library in missing]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["accuracy", "overhead"])
    parser.add_argument("--quick", action="store_true", help="two families of mixtures; fewer repetitions")
    parser.add_argument("--development", action="store_true", help="the mixtures on which Auto was chosen")
    parser.add_argument("--seeds", type=int, default=1, help="mixtures of each family")
    parser.add_argument("--out", type=Path, help="write the table to this file as well")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    with torch.no_grad():
        timing = arguments.what == "overhead"
        quick, development, seeds = arguments.quick, arguments.development, arguments.seeds
        for line in overhead(quick) if timing else accuracy(quick, development, seeds):
            print(line, flush=True)
            lines.append(line)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
