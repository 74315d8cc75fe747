"""What two stages at a time hide of a job: python scripts/bench/overlap.py RUN [n=128 batch_size=16 rounds=5].

The same files are made with both stages in turn and at a time, in turns. ``beside`` is all that is not denoising, taken
where the stages come in turn; what is hidden is the seconds that were saved, as a share of it. Nothing can hide the
last micro-batch, as no other is denoised then. Files are compared. Needs two cores with nothing else to do.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import mmdiff
from mmdiff.data.overlap import overlapped
from mmdiff.generation import sampling


def in_turn(spent: list[float]) -> Callable[[Iterable, Callable], Iterator]:
    """One stage after the other; ``spent`` gets the seconds of the second."""
    def run(items: Iterable, act: Callable[[Any], Any]) -> Iterator:
        for item in items:
            begun = time.perf_counter()
            done = act(item)
            spent.append(time.perf_counter() - begun)
            yield done
    return run


def made(pipeline: Any, requests: list, folder: Path, batch_size: int) -> tuple[float, dict[str, bytes]]:
    """Seconds of a job, and its samples."""
    begun = time.perf_counter()
    paths = pipeline.save(requests, folder, batch_size=batch_size)
    return time.perf_counter() - begun, {path.name: path.read_bytes() for path in paths}


def main() -> None:
    """Measure and print."""
    run, *words = sys.argv[1:]
    told = {"n": 128, "batch_size": 16, "rounds": 5} | {k: int(v) for k, v in (word.split("=") for word in words)}
    pipeline = mmdiff.load(run)
    requests = [mmdiff.Request(seed=seed) for seed in range(told["n"])]
    rows: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        made(pipeline, requests[: told["batch_size"]], Path(folder) / "warm", told["batch_size"])
        for k in range(told["rounds"]):
            spent: list[float] = []
            sampling.overlapped = in_turn(spent)
            one, files = made(pipeline, requests, Path(folder) / f"{k}a", told["batch_size"])
            sampling.overlapped = overlapped
            two, same = made(pipeline, requests, Path(folder) / f"{k}b", told["batch_size"])
            assert files == same, "the files differ"
            rows.append((one, two, sum(spent)))
    one, two, beside = (statistics.median(row[i] for row in rows) for i in range(3))
    hidden = statistics.median((a - b) / c for a, b, c in rows)
    print(f"{told['n']} samples, all files equal: in turn {one:.2f} s, at a time {two:.2f} s ({one / two:.2f} x); "
          f"beside denoising {beside:.2f} s ({beside / one:.0%}), of which {hidden:.0%} are hidden, where "
          f"{1 - 1 / -(-told['n'] // told['batch_size']):.0%} can be")


if __name__ == "__main__":
    main()
