"""Quality against network calls, of students beside their teachers, of sweeps that ``mmdiff eval`` wrote.

    mmdiff eval TEACHER guidance.scale=2 -m sampler.steps=1,2,4,8,20,50
    mmdiff eval STUDENT guidance.scale=2 evaluation.embedder=TEACHER/eval/embedder.safetensors -m sampler.steps=1,2,4
    python scripts/bench/few_plot.py --set "spoken digits" TEACHER STUDENT [--set ...] --plot docs/img/few_steps.png

A column a set, a row a metric; bars are the intervals of the sweeps, dashed is what held-out samples reach.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

METRICS = ("FD-own", "coverage")
COLOURS = {"teacher": "#6b8fb3", "student": "#c8452d", "real": "#2a7f62"}


def swept(run: Path) -> list[dict[str, Any]]:
    """The rows of the sweep of a run, or of a folder that holds one."""
    found = next((path for path in (run / "eval" / "sweep.json", run / "sweep.json") if path.is_file()), None)
    if found is None:
        raise SystemExit(f"{run} has no sweep.json: mmdiff eval {run} -m sampler.steps=1,2,4 writes one")
    return json.loads(found.read_text(encoding="utf-8"))["rows"]


def draw(axis: Axes, runs: dict[str, list[dict[str, Any]]], metric: str) -> None:
    """The lines of one set in one metric."""
    for name, rows in runs.items():
        told = sorted(((row["calls"], row[metric]) for row in rows if row["row"] == "model"), key=lambda pair: pair[0])
        x, y = [calls for calls, _ in told], [v["value"] for _, v in told]
        bars = [[v["value"] - v["low"] for _, v in told], [v["high"] - v["value"] for _, v in told]]
        axis.errorbar(x, y, bars, fmt="o-", markersize=4, linewidth=1.5, elinewidth=0.7, capsize=2, label=name,
                      color=COLOURS[name])
    real = next(row[metric]["value"] for row in runs["teacher"] if row["row"] == "real")
    axis.axhline(real, color=COLOURS["real"], linestyle="--", linewidth=1, label="real")
    ticks = sorted({row["calls"] for rows in runs.values() for row in rows if row["row"] == "model"})
    axis.set_xscale("log")
    axis.set_xticks(ticks, [str(calls) for calls in ticks])
    axis.minorticks_off()
    if metric.startswith("FD"):
        axis.set_yscale("log")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs=3, action="append", required=True, metavar=("NAME", "TEACHER", "STUDENT"))
    parser.add_argument("--metrics", nargs="+", default=METRICS)
    parser.add_argument("--plot", type=Path, required=True)
    args = parser.parse_args()
    figure = Figure(figsize=(4 * len(args.set), 2.9 * len(args.metrics)), layout="constrained")
    axes = figure.subplots(len(args.metrics), len(args.set), squeeze=False)
    for column, (title, teacher, student) in enumerate(args.set):
        runs = {"teacher": swept(Path(teacher)), "student": swept(Path(student))}
        for row, metric in enumerate(args.metrics):
            draw(axes[row, column], runs, metric)
            axes[row, column].set(title=title if row == 0 else None, ylabel=metric if column == 0 else None)
        axes[-1, column].set_xlabel("network calls")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(args.plot, dpi=110)


if __name__ == "__main__":
    main()
