"""Does it pay to skip network calls along a path? Against fewer steps, from the same noise, on trained models.

    python scripts/bench/skipping.py RUN ... [--n 32]

Error is the root mean square of latents against those of 128 steps, relative to their spread; seconds are CPU time of
one thread for a batch. A way of skipping earns its place where no plain row of as many seconds has as little error.

    output        every second x0 is the line through the last two that were computed
    difference    the unconditional prediction is asked at every second call; between, its last difference serves
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mmdiff.core.denoiser import Denoiser
from mmdiff.core.guidance import ClassifierFree, Guidance
from mmdiff.core.samplers import Auto
from mmdiff.core.types import Condition, Denoise
from mmdiff.generation.pipeline import Pipeline, load
from mmdiff.metrics.rows import markdown

ROUNDS, TRUTH = 3, 128
PLAIN, SKIPPED = (4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24), (8, 10, 12, 14, 16, 20, 24)


class SkippedOutput(ClassifierFree):
    """Every second prediction from the two before."""

    def __call__(self, denoiser: Denoiser, cond: Condition, *, null: Condition, mask: Tensor | None = None) -> Denoise:
        inner, known, calls = super().__call__(denoiser, cond, null=null, mask=mask), [], 0

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            if calls > 2 and calls % 2 == 0:                          # the first two are always asked for
                (t0, x0), (t1, x1) = known[-2:]
                return x1 + (t[0] - t1) / (t1 - t0) * (x1 - x0)
            known.append((t[0], inner(x_t, t)))
            return known[-1][1]

        return denoise


class SkippedDifference(ClassifierFree):
    """The difference of guidance from the call before, at every second one."""

    def __call__(self, denoiser: Denoiser, cond: Condition, *, null: Condition, mask: Tensor | None = None) -> Denoise:
        both, calls, last = Condition.cat([cond, null]), 0, torch.zeros(())

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            nonlocal calls, last
            calls += 1
            if calls > 1 and calls % 2 == 0:
                return denoiser(x_t, t, cond, mask) + (self.scale - 1) * last
            x0_c, x0_u = denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), both, mask).chunk(2)
            last = x0_c - x0_u
            return x0_c + (self.scale - 1) * last

        return denoise


def measured(pipeline: Pipeline, n: int, scale: float) -> list[Mapping[str, object]]:
    """A row for each way and number of steps."""
    model, size = pipeline.model, pipeline.size
    fields = model.conditioner.fields.items()                         # classes in turn, or a range evenly
    labels = [{name: values[i % len(values)] if isinstance(values[0], str)
               else values[0] + (values[1] - values[0]) * i / n for name, values in fields} for i in range(n)]

    def run(steps: int, guidance: Guidance) -> Tensor:
        shape = model.codec.latent_shape(**size)
        return model.latents(labels, range(n), shape, sampler=Auto(steps), guidance=guidance)

    truth = run(TRUTH, ClassifierFree(scale))
    jobs: dict[tuple[str, int], Callable[[], Tensor]] = {}
    for kind, steps, name in ((ClassifierFree, PLAIN, "-"), (SkippedOutput, SKIPPED, "output"),
                              (SkippedDifference, SKIPPED, "difference")):
        jobs |= {(name, count): (lambda kind=kind, count=count: run(count, kind(scale))) for count in steps}
    seconds: dict[tuple[str, int], list[float]] = {job: [] for job in jobs}
    errors: dict[tuple[str, int], float] = {}
    for _ in range(ROUNDS):
        for job, act in jobs.items():
            begun = time.process_time()
            made = act()
            seconds[job].append(time.process_time() - begun)
            errors[job] = ((made - truth).square().mean().sqrt() / truth.std()).item()
    spent = {job: statistics.median(values) for job, values in seconds.items()}
    rows = []
    for job in sorted(jobs, key=lambda job: spent[job]):
        plain = min(errors[other] for other in jobs if other[0] == "-" and spent[other] <= 1.02 * spent[job])
        rows.append({
            "skipped": job[0], "steps": job[1], "seconds": round(spent[job], 3), "error": f"{errors[job]:.4f}",
            "of plain at most as slow": "" if job[0] == "-" else f"{plain:.4f}",
            "wins": "yes" if job[0] != "-" and errors[job] < 0.95 * plain else "",
        })
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--n", type=int, default=32)
    parser.add_argument("--scale", type=float, default=2.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for path in args.runs:
        print(f"\n{path.name}\n\n{markdown(measured(load(path, device='cpu'), args.n, args.scale))}", flush=True)


if __name__ == "__main__":
    main()
