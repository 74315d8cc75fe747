"""Compare runs on built-in solids at equal network calls, such as couplings of points and noise.

    mmdiff train experiment=points/demo run=runs/independent trainer.max_steps=900 adapter.coupling.kind=independent
    mmdiff train experiment=points/demo run=runs/assignment trainer.max_steps=900
    python scripts/points/calls.py runs/independent runs/assignment [--calls 2 4 8 20] [--guidance 2.0]

Eight clouds of each kind, with seeds in common; what is measured is in ``mmdiff.adapters.points.score_solids``.
"""

import argparse
from pathlib import Path

import numpy as np

from mmdiff import Request, load
from mmdiff.adapters.points.score_solids import HELD_OUT, REAL, real, summary
from mmdiff.adapters.points.scores import cube
from mmdiff.adapters.points.solids import SOLIDS
from mmdiff.metrics.rows import markdown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--calls", type=int, nargs="+", default=[2, 4, 8, 20])
    parser.add_argument("--guidance", type=float, default=2.0)
    args = parser.parse_args()
    kinds, rows = 8 * SOLIDS, []
    for run in args.runs:
        header = load(run).header["config"]
        points = int(header["size"]["points"])
        against = real(REAL, points, seed=0)
        if not rows:
            rows.append({"run": "real", "calls": "", **summary(real(HELD_OUT, points, seed=1), against)})
        for calls in args.calls:
            pipeline = load(
                run, sampler={**header["sampler"], "steps": calls},
                guidance={**header["guidance"], "scale": args.guidance},
            )
            requests = [Request(seed=i, labels={"solid": kind}) for i, kind in enumerate(kinds)]
            made = dict(pipeline.run(requests, 14))
            clouds = np.stack([made[i].T.numpy() for i in range(len(kinds))]).astype(np.float64)
            rows.append({"run": run.name, "calls": calls, **summary((cube(clouds), list(kinds)), against)})
    print(markdown(rows))


if __name__ == "__main__":
    main()
