"""Samples together against one by one: python scripts/bench/batches.py [engine=eager] [threads=1] [n=8,20].

Of each demo recipe, at its own size, with its own sampler and guidance and weights as training leaves them but for the
learning: milliseconds of a whole job (denoising and decoding) a sample, ``n`` samples in micro-batches of 1, 2, 4, 8
and 16, the default and what ``batch_size=auto`` takes. Micro-batches take turns; a time is the median of 5, on a CPU
that of all threads.
"""

import contextlib
import io
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

import mmdiff
from mmdiff.metrics.rows import markdown
from mmdiff.store import save_model
from mmdiff.testing import Trial

RECIPES = {"audio/demo": "audio", "video/demo": "video", "points/demo": "points"}
SIZES, ROUNDS = (1, 2, 4, 8, 16), 5


def main() -> None:
    """Print a table, a row for each recipe and number of samples."""
    told = dict(word.split("=") for word in sys.argv[1:])
    torch.set_num_threads(int(told.get("threads", 1)))
    counts, rows = [int(n) for n in told.get("n", "8,20").split(",")], []
    for recipe, adapter in RECIPES.items():
        with tempfile.TemporaryDirectory() as folder:
            words = [f"experiment={recipe}", "data.n=8", "loader.limit=8"]
            trial = Trial(adapter, words, Path(folder))
            save_model(trial.awake, trial.stored, file := Path(folder) / "model.safetensors", step=0)
            pipeline = mmdiff.load(file, engine=told.get("engine", "eager"))
            rows += [{"recipe": recipe, "samples": n, **measured(pipeline, n)} for n in counts]
        print(markdown(rows[-len(counts):]), flush=True)
    print(markdown(rows))


def measured(pipeline: mmdiff.Pipeline, n: int) -> dict[str, object]:
    """Milliseconds a sample by micro-batch, and how much quicker all are than one by one."""
    requests = [mmdiff.Request(seed=seed) for seed in range(n)]
    clock = time.perf_counter if pipeline.model.device.type == "cuda" else time.process_time
    own, auto = pipeline.batch_size(requests), pipeline.batch_size(requests, "auto")
    spent: dict[int, list[float]] = {size: [] for size in sorted({*(size for size in SIZES if size <= n), own, auto})}
    for _ in range(ROUNDS):
        for size, found in spent.items():
            begun = clock()
            with contextlib.redirect_stdout(io.StringIO()):
                list(pipeline.run(requests, size, show_progress=False))
            found.append(1000 * (clock() - begun) / n)
    times = {size: statistics.median(found) for size, found in spent.items()}
    quicker = {name: f"{size}: {times[1] / times[size]:.2f} x" for name, size in (("default", own), ("auto", auto))}
    return {**{f"ms, {size}": f"{times[size]:.0f}" if size in times else "" for size in SIZES}, **quicker}


if __name__ == "__main__":
    main()
