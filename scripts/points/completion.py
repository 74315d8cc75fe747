"""Complete held-out shapes from one side of them, or from few of their points, and compare with simpler ways.

    python scripts/points/completion.py RUN [--k 5] [--views 2] [--out completion.json]
    python scripts/points/completion.py RUN --coarse 48 --k 1 --views 1 --n 40

RUN was trained with given parts (experiment=points/furniture, points/denser). Each of its held-out shapes is scanned
from ``views`` random sides, or ``coarse`` of its points are taken, ``views`` times. CD is the sum of both mean squared
distances to 2048 points of the whole, in its normalised frame.

    the part alone     what is given
    in between         with points on the lines between neighbours of what is given
    mirrored           with its mirror image in the plane x = 0: furniture is mostly symmetric
    nearest known      the training shapes that the scan fits best: mean squared distance of its points to theirs
    ... at all         the training shape of least CD to the whole: what retrieval could reach at best
    the model          k completions; given nothing: k samples of the same labels
    another's          the completions, against the whole of the next held-out shape

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
from mmdiff.data.dataset import Dataset, spread
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


def between(part: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` points, those of ``part`` and others on lines from each to one of its four nearest."""
    near = cKDTree(part).query(part, 5)[1][:, 1:]
    i = rng.integers(len(part), size=count - len(part))
    ends = part[near[i, rng.integers(near.shape[1], size=len(i))]]
    return np.concatenate([part, part[i] + rng.random((len(i), 1)) * (ends - part[i])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--k", type=int, default=5, help="completions of a part")
    parser.add_argument("--views", type=int, default=2, help="parts of a shape")
    parser.add_argument("--coarse", type=int, help="points that are given (default: those that a scan shows)")
    parser.add_argument("--n", type=int, help="held-out shapes (default: all)")
    parser.add_argument("--points", type=int, help="points of a completed shape (default: as trained)")
    parser.add_argument("--seed", type=int, default=0, help="of sides and completions")
    parser.add_argument("--out", type=Path, help="write the table as JSON here, and a picture beside it")
    args = parser.parse_args()

    config = load_yaml(args.run / "config.yaml")
    pipeline = load(args.run)
    codec, count = pipeline.model.codec, args.points or int(pipeline.size["points"])
    reader = build({**config["adapter"]["reader"], "points": WHOLE, "scan": False}, Reader, **codec.reading)
    train, held = build(config["loader"], Loading).split(build(config["data"], Dataset, reader=reader))
    shapes = spread(len(held), min(args.n or len(held), len(held)))

    def whole(dataset, i: int) -> tuple[np.ndarray, dict]:
        sample, labels = dataset.read(i)
        return codec.normalized(Masked(sample[None]))[0, :3].T.numpy().astype(np.float64), labels

    def made(labels: dict, part: np.ndarray | None) -> list[np.ndarray]:
        with tempfile.TemporaryDirectory() as folder:
            edit = None
            if part is not None:
                edit = Edit("complete", write_points(torch.from_numpy(part.T), Path(folder) / "part.ply"))
            clouds = pipeline.sample(args.k, seed=args.seed, cond=labels, edit=edit, points=count)
        return [cloud[:3].T.numpy().astype(np.float64) for cloud in clouds]

    known = [whole(train, i)[0] for i in tqdm(range(len(train)), "training shapes", unit="shape", leave=False)]
    rng, values, shown = np.random.default_rng(args.seed), [], []
    for turn in tqdm(range(len(shapes) * args.views), "parts", unit="part"):
        truth, labels = whole(held, shapes[turn // args.views])
        other, _ = whole(held, shapes[(turn // args.views + 1) % len(shapes)])
        few = truth[rng.permutation(WHOLE)[:count]]
        part = few[: args.coarse] if args.coarse else few[one_sided(few, rng.standard_normal(3))]
        completed = made(labels, part)
        fits = sorted(known, key=lambda shape, part=part: one_way(part, shape))[: args.k]
        model, nearest, untold = ([chamfer(x, truth) for x in xs] for xs in (completed, fits, made(labels, None)))
        values.append({
            "the part alone": chamfer(part, truth),
            "in between": chamfer(between(part, count, rng), truth),
            "mirrored": chamfer(np.concatenate([part, part * [-1, 1, 1]]), truth),
            "nearest known, the best fit": nearest[0],
            f"nearest known, best of {args.k}": min(nearest),
            "nearest known at all": min(chamfer(shape, truth) for shape in known),
            "the model, mean": float(np.mean(model)),
            f"the model, best of {args.k}": min(model),
            "the model, given nothing": float(np.mean(untold)),
            "another's": float(np.mean([chamfer(cloud, other) for cloud in completed])),
            f"other points of the whole, {count}": chamfer(truth[rng.permutation(WHOLE)[:count]], truth),
        })
        shown.append([part, completed[int(np.argmin(model))], fits[0], few])
    table = {
        name: {"CD, 1e-3": bootstrap(torch.tensor([1e3 * row[name] for row in values]), torch.mean)}
        for name in values[0]
    }
    given = f"{args.coarse} points" if args.coarse else "a scan"
    print(f"{len(shapes)} held-out shapes, {args.views} times {given} of each, {count} points")
    print(markdown([{"completed by": name, **row} for name, row in table.items()]))
    if args.out:
        args.out.write_text(json.dumps({name: plain(row) for name, row in table.items()}, indent=1), encoding="utf-8")
        names = ("given", "completed", "nearest known", "whole")
        pictures = [
            Shown(torch.from_numpy(cloud.T), name)
            for row in shown[:: args.views] for cloud, name in zip(row, names, strict=True)
        ]
        sheet(pictures[:32], args.out.with_suffix(".png"), columns=8, size=140)


if __name__ == "__main__":
    main()
