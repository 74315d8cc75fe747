"""Score generated point clouds against real ones by points-v1, with the rows that tell what a number is worth.

    python scripts/points/score.py --reference CLOUDS.npz [--generated PATH [PATH ...]] [--classify] [--out report.json]

    CLOUDS.npz   points (n, N, 3), floats or whole numbers of which the largest of their type is 1; optionally label
                 (n,) with classes (C,), and test (n,), true for the clouds to compare with: others are training ones
    PATH         such a file, a .npy file of points, or a folder of clouds with sidecars, as mmdiff sample writes it

--classify trains a PointNet on the training clouds and adds a table: accuracy on the class that was asked for (of all
and of each class, with Wilson's 95 % interval), and in its features the Fréchet distance, density and coverage to as
many training clouds. Every set should hold as many clouds: these depend on their number.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmdiff.evaluation import pointnet
from mmdiff.evaluation.classify import share
from mmdiff.evaluation.coverage import coverage
from mmdiff.evaluation.frechet import frechet_distance
from mmdiff.evaluation.generated import generated
from mmdiff.evaluation.points import drawn, evaluate, normalizing, table
from mmdiff.evaluation.report import Row, markdown, plain

SUFFIXES = (".ply", ".npz", ".xyz", ".obj", ".glb", ".pcd")


class Clouds(NamedTuple):
    """Clouds ``(N, 3)``, any N, with the names of their classes where these are known."""

    points: list[np.ndarray]
    labels: np.ndarray | None

    def rows(self, chosen: np.ndarray) -> "Clouds":
        """Those at positions ``chosen``."""
        return Clouds([self.points[i] for i in chosen], None if self.labels is None else self.labels[chosen])


def from_array(path: Path) -> tuple[Clouds, np.ndarray]:
    """The clouds of a file, and which of them are marked as test, all if none; ``ValueError`` if it holds none."""
    data = np.load(path, allow_pickle=False)
    data = {"points": data} if isinstance(data, np.ndarray) else dict(data)
    if "points" not in data or data["points"].ndim != 3 or data["points"].shape[2] < 3:
        raise ValueError(f"{path} needs an array points (n, N, 3), it has {({k: v.shape for k, v in data.items()})}")
    points = data["points"][..., :3]
    if np.issubdtype(points.dtype, np.integer):
        points = points / np.float32(np.iinfo(points.dtype).max)
    labels = data.get("label")
    if labels is not None and "classes" in data:
        labels = data["classes"][labels]
    test = data.get("test", np.ones(len(points), bool))
    return Clouds(list(points), None if labels is None else labels.astype(str)), test


def from_path(path: Path, field: str | None) -> Clouds:
    """The clouds of a file or folder; ``field`` names the label that sidecars must hold."""
    if path.is_file():
        return from_array(path)[0]
    from mmdiff.adapters.points.files import load_shape  # only here: it imports a library for meshes

    suffix = next((s for s in SUFFIXES if any(path.glob(f"[!.]*{s}"))), SUFFIXES[0])
    files = generated(path, suffix=suffix, fields=(field,) if field else ())
    labels = np.array([str(file.labels[field]) for file in files]) if field else None
    return Clouds([load_shape(file.path).points for file in files], labels)


class Classifier:
    """A PointNet that was trained on the training clouds, and what it says of others."""

    def __init__(self, train: Clouds, *, normalizer: str, points: int, steps: int, seed: int):
        self.points, self.seed = points, seed
        self.classes = sorted(set(train.labels))
        self.normalized = normalizing(normalizer, drawn(train.points, len(train.points), points=points, seed=seed))
        clouds = self.tensor(train.points)
        self.model = pointnet.train(clouds, self.positions(train.labels), steps=steps, seed=seed)
        self.train, _ = pointnet.judge(self.model, clouds)

    def tensor(self, clouds: list[np.ndarray]) -> Tensor:
        """Normalised clouds ``(n, 3, points)``."""
        x = self.normalized(drawn(clouds, len(clouds), points=self.points, seed=self.seed))
        return torch.from_numpy(x).float().mT.contiguous()

    def positions(self, labels: np.ndarray) -> Tensor:
        """Names to positions ``(n,)``; ``ValueError`` for a class that was not trained on."""
        if unknown := set(labels) - set(self.classes):
            raise ValueError(f"unknown class {sorted(unknown)}: the training clouds have {', '.join(self.classes)}")
        return torch.tensor([self.classes.index(label) for label in labels])

    def row(self, clouds: Clouds) -> Row:
        """Accuracy of all and of each class, where labels are known, and distances to as many training clouds."""
        features, probabilities = pointnet.judge(self.model, self.tensor(clouds.points))
        row: dict[str, Any] = {"n": len(features)}
        if clouds.labels is not None:
            true = self.positions(clouds.labels)
            right = probabilities.argmax(1) == true
            row["accuracy"] = share(right)
            row |= {name: share(right[true == c]) for c, name in enumerate(self.classes) if (true == c).any()}
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(self.seed))
        near = self.train[order[: len(features)]]
        scores = coverage(features, near)
        return row | {
            "FD-PointNet": frechet_distance(features, near), "density": scores.density, "coverage": scores.coverage
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="npz of real clouds")
    parser.add_argument("--generated", type=Path, nargs="*", default=[], help="files or folders of generated clouds")
    parser.add_argument("--field", help="label in the sidecars that names the class; needed to score their accuracy")
    parser.add_argument("--n", type=int, help="clouds of each set, at most 200 unless told")
    parser.add_argument("--points", type=int, default=2048, help="points of each cloud")
    parser.add_argument("--normalizer", choices=("cube", "global", "none"), default="cube")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--emd", action="store_true", help="add EMD-512: half an hour more a row at 200 clouds")
    parser.add_argument("--classify", action="store_true", help="add the table of a PointNet; needs labels")
    parser.add_argument("--steps", type=int, default=1000, help="of the PointNet's training")
    parser.add_argument("--workers", type=int, default=1, help="threads")
    parser.add_argument("--out", type=Path, help="also write a JSON report here")
    args = parser.parse_args()
    torch.set_num_threads(args.workers)

    clouds, test = from_array(args.reference)
    reference, train = clouds.rows(np.flatnonzero(test)), clouds.rows(np.flatnonzero(~test))
    sets = {str(path): from_path(path, args.field) for path in args.generated}
    if args.classify and (not train.points or train.labels is None):
        raise SystemExit(f"--classify needs training clouds with labels: {args.reference} lacks label or test")
    report = evaluate(
        {name: part.points for name, part in sets.items()}, reference.points, train=train.points or None,
        labels=train.labels if train.points else None, n=args.n, points=args.points, seed=args.seed,
        normalizer=args.normalizer, emd=args.emd, workers=args.workers,
    )
    report["protocol"]["reference"] = args.reference.name
    print(table(report))
    if args.classify:
        classifier = Classifier(
            train, normalizer=args.normalizer, points=args.points, steps=args.steps, seed=args.seed
        )
        report["classifier"] = {name: classifier.row(part) for name, part in {"real test": reference, **sets}.items()}
        print("\n" + markdown([{"clouds": name, **row} for name, row in report["classifier"].items()]))
    if args.out:
        for part in {"rows", "classifier"} & report.keys():
            report[part] = {name: plain(row) for name, row in report[part].items()}
        args.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
