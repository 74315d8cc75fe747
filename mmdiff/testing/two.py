"""A run of two processes, as ``mmdiff train`` starts them."""

import csv
import os
import subprocess
import sys

from .trial import Trial


def loss_of_two(trial: Trial) -> float:
    """The loss of the first step of two processes. Raises ``AssertionError`` where they do not train."""
    run = trial.folder / "two"
    arguments = [a for a in trial.arguments if not a.startswith("trainer=")]
    command = [sys.executable, "-m", "mmdiff", "train", f"run={run}", *arguments, "trainer=ddp_cpu"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip(" ^~")] or ["nothing was said"]
    assert done.returncode == 0, f"training failed: {said[-1].strip()}"
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return float(next(csv.DictReader(file))["loss"])
