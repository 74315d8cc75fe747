"""Score generated point clouds against real ones by points-v1, with the rows that tell what a number is worth.

    python scripts/points/score.py --reference CLOUDS.npz [--generated PATH [PATH ...]] [--out report.json]

    CLOUDS.npz   points (n, N, 3), floats or whole numbers of which the largest of their type is 1; optionally label
                 (n,) with classes (C,), and test (n,), true for the clouds to compare with: others are training ones
    PATH         such a file, a .npy file of points, or a folder of clouds with sidecars, as mmdiff sample writes it
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mmdiff.adapters.points.scores import evaluate, table
from mmdiff.metrics.folder import generated
from mmdiff.metrics.rows import plain

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


def from_path(path: Path) -> list[np.ndarray]:
    """The clouds of a file or folder."""
    if path.is_file():
        return from_array(path)[0].points
    from mmdiff.adapters.points.files import load_shape  # only here: it imports a library for meshes

    suffix = next((s for s in SUFFIXES if any(path.glob(f"[!.]*{s}"))), SUFFIXES[0])
    return [load_shape(file.path).points for file in generated(path, suffix=suffix, fields=())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="npz of real clouds")
    parser.add_argument("--generated", type=Path, nargs="*", default=[], help="files or folders of generated clouds")
    parser.add_argument("--n", type=int, help="clouds of each set, at most 200 unless told")
    parser.add_argument("--points", type=int, default=2048, help="points of each cloud")
    parser.add_argument("--normalizer", choices=("cube", "global", "none"), default="cube")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--emd", action="store_true", help="add EMD-512: half an hour more a row at 200 clouds")
    parser.add_argument("--workers", type=int, default=1, help="threads")
    parser.add_argument("--out", type=Path, help="also write a JSON report here")
    args = parser.parse_args()
    torch.set_num_threads(args.workers)

    clouds, test = from_array(args.reference)
    reference, train = clouds.rows(np.flatnonzero(test)), clouds.rows(np.flatnonzero(~test))
    sets = {str(path): from_path(path) for path in args.generated}
    report = evaluate(
        sets, reference.points, train=train.points or None,
        labels=train.labels if train.points else None, n=args.n, points=args.points, seed=args.seed,
        normalizer=args.normalizer, emd=args.emd, workers=args.workers,
    )
    report["protocol"]["reference"] = args.reference.name
    print(table(report))
    if args.out:
        report["rows"] = {name: plain(row) for name, row in report["rows"].items()}
        args.out.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
