"""Complete held-out shapes from one side of them, and compare with simpler ways.

    python scripts/points/completion.py RUN [--k 5] [--views 2] [--out completion.json]

RUN was trained with given parts (experiment=points/furniture). Each of its held-out shapes is scanned from ``views``
random sides. CD is the sum of both mean squared distances to 2048 points of the whole, in its normalised frame.

    the scan alone     what is given
    mirrored           with its mirror image in the plane x = 0: furniture is mostly symmetric
    nearest known      the training shapes that the scan fits best: mean squared distance of its points to theirs
    ... at all         the training shape of least CD to the whole: what retrieval could reach at best
    the model          k completions

Where there are k candidates, both their mean and the best of them are given, with bootstrap 95 % intervals.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree
from tqdm import tqdm

from mmdiff import load
from mmdiff.adapters.points.render import Shown, sheet
from mmdiff.adapters.points.sampling import one_sided
from mmdiff.adapters.points.write import write_points
from mmdiff.config.build import build
from mmdiff.config.files import load_yaml
from mmdiff.core.types import Masked
from mmdiff.data.dataset import Dataset
from mmdiff.data.loaders import Loading
from mmdiff.data.reader import Reader
from mmdiff.generation.edits import Edit
from mmdiff.metrics.bootstrap import bootstrap
from mmdiff.metrics.rows import markdown, plain

WHOLE = 2048


def chamfer(a: np.ndarray, b: np.ndarray) -> float:
    """CD of ``(n, 3)`` and ``(m, 3)``."""
    return one_way(a, b) + one_way(b, a)


def one_way(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared distance of the points of ``a`` to ``b``."""
    return float(np.square(cKDTree(b).query(a)[0]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--k", type=int, default=5, help="completions of a scan")
    parser.add_argument("--views", type=int, default=2, help="scans of a shape")
    parser.add_argument("--points", type=int, help="points of a completed shape (default: as trained)")
    parser.add_argument("--seed", type=int, default=0, help="of sides and completions")
    parser.add_argument("--out", type=Path, help="write the table as JSON here, and a picture beside it")
    args = parser.parse_args()

    config = load_yaml(args.run / "config.yaml")
    pipeline = load(args.run)
    codec, count = pipeline.model.codec, args.points or int(pipeline.size["points"])
    reader = build({**config["adapter"]["reader"], "points": WHOLE, "scan": False}, Reader, **codec.reading)
    train, held = build(config["loader"], Loading).split(build(config["data"], Dataset, reader=reader))

    def whole(dataset, i: int) -> tuple[np.ndarray, dict]:
        sample, labels = dataset.read(i)
        return codec.normalized(Masked(sample[None]))[0, :3].T.numpy().astype(np.float64), labels

    known = [whole(train, i)[0] for i in tqdm(range(len(train)), "training shapes", unit="shape", leave=False)]
    rng, values, shown = np.random.default_rng(args.seed), [], []
    for i in tqdm(range(len(held) * args.views), "scans", unit="scan"):
        truth, labels = whole(held, i // args.views)
        few = truth[rng.permutation(WHOLE)[:count]]
        scan = few[one_sided(few, rng.standard_normal(3))]
        with tempfile.TemporaryDirectory() as folder:
            path = write_points(torch.from_numpy(scan.T), Path(folder) / "scan.ply")
            edit = Edit("complete", path)
            made = pipeline.sample(args.k, seed=args.seed, cond=labels, edit=edit, points=count)
        made = [cloud[:3].T.numpy().astype(np.float64) for cloud in made]
        fits = sorted(known, key=lambda shape, scan=scan: one_way(scan, shape))[: args.k]
        model, nearest = ([chamfer(cloud, truth) for cloud in clouds] for clouds in (made, fits))
        values.append({
            "the scan alone": chamfer(scan, truth),
            "mirrored": chamfer(np.concatenate([scan, scan * [-1, 1, 1]]), truth),
            "nearest known, the best fit": nearest[0],
            f"nearest known, best of {args.k}": min(nearest),
            "nearest known at all": min(chamfer(shape, truth) for shape in known),
            "the model, mean": float(np.mean(model)),
            f"the model, best of {args.k}": min(model),
            f"other points of the whole, {count}": chamfer(truth[rng.permutation(WHOLE)[:count]], truth),
        })
        shown.append([scan, made[int(np.argmin(model))], fits[0], few])
    table = {
        name: {"CD, 1e-3": bootstrap(torch.tensor([1e3 * row[name] for row in values]), torch.mean)}
        for name in values[0]
    }
    print(f"{len(held)} held-out shapes, {args.views} scans each, {count} points")
    print(markdown([{"completed by": name, **row} for name, row in table.items()]))
    if args.out:
        args.out.write_text(json.dumps({name: plain(row) for name, row in table.items()}, indent=1), encoding="utf-8")
        names = ("scan", "completed", "nearest known", "whole")
        shapes = [
            Shown(torch.from_numpy(cloud.T), name)
            for row in shown[:: args.views] for cloud, name in zip(row, names, strict=True)
        ]
        sheet(shapes[:32], args.out.with_suffix(".png"), columns=8, size=140)


if __name__ == "__main__":
    main()
