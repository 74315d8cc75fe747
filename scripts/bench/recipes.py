"""The recipe that mmdiff plan proposes for a folder beside one made by hand: as many steps, judged alike.

    python scripts/bench/recipes.py OUT --steps 600 --proposed adapter=audio data.root=DIGITS data.pattern=... \\
        --by-hand experiment=audio/fsdd data.root=DIGITS

Both are trained and judged by mmdiff train and mmdiff eval (--n samples). Their samples may differ in rate and size, so
each stands beside real ones of its own; a metric is shown where both have it, and CPU seconds are those of a step.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

from mmdiff.cli.recipe import recipe
from mmdiff.metrics.bootstrap import Interval
from mmdiff.metrics.rows import markdown


def made(words: list[str], out: Path, steps: int, n: int) -> tuple[dict, float]:
    """The rows of the report on a run of these words, and the CPU seconds of a step."""
    quiet = ["preview.every=0", "validation.every=0", "checkpoint.every=0", "logger=csv"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    _mmdiff("train", *words, f"run={out}", f"trainer.max_steps={steps}", *quiet)
    seconds = (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before) / steps
    _mmdiff("eval", str(out), f"evaluation.n={n}", "evaluation.draws=20")
    return json.loads((out / "eval" / "report.json").read_text())["rows"], seconds


def _mmdiff(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "mmdiff", *words], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--proposed", nargs="+", required=True, help="words of mmdiff plan")
    parser.add_argument("--by-hand", nargs="+", required=True, help="words of mmdiff train")
    args = parser.parse_args()
    advice = [one.word for one in recipe(args.proposed)]
    print("proposed:", *advice)
    runs = {"proposed": [*args.proposed, *advice], "by hand": args.by_hand}
    rows, cost = {}, {"": "CPU s a step"}
    for name, words in runs.items():
        found, cost[f"{name}: model"] = made(words, args.out / name.replace(" ", "-"), args.steps, args.n)
        rows |= {f"{name}: {kind}": found[kind] for kind in ("real", "model")}
    shared = [metric for metric in rows["proposed: real"] if all(metric in row for row in rows.values())]
    table = [{"": metric, **{name: _value(row[metric]) for name, row in rows.items()}} for metric in shared]
    print(markdown([cost, *table]))


def _value(value: object) -> object:
    return Interval(**value) if isinstance(value, dict) else value


if __name__ == "__main__":
    main()
