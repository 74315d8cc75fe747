"""Measures generated solids, whose truth is known: the kind that was asked for, and how near a true one they come.

    python -m mmdiff.adapters.points.score_solids FOLDER

    kind(x)     = that of the r with the least CD(x, r),    r of REAL solids made by code, in the normalised cube
    distance(x) = min CD(x, r) over r of the kind asked for

Other solids made by code are measured in the same way and say what the measuring costs; Gaussian blobs with the labels
of the generated ones are what a model that learnt nothing would make.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ...metrics.bootstrap import bootstrap, median
from ...metrics.classify import proportion
from ...metrics.folder import generated, measure
from ...metrics.rows import Row
from .files import load_shape
from .local import local_statistics
from .pairwise import chamfer_matrix
from .reader import PointReader
from .scores import cube
from .solids import SOLIDS, Solids

REAL, HELD_OUT = 40 * len(SOLIDS), 10 * len(SOLIDS)
"""Solids made by code to compare with, and to be compared."""

LabelledClouds = tuple[np.ndarray, list[str]]
"""``(n, N, 3)`` in the normalised cube, and the kind of each."""


def from_folder(folder: Path) -> LabelledClouds:
    """Generated clouds."""
    files = generated(folder, suffix=".ply", fields=("solid",))
    clouds = [load_shape(file.path).points for file in files]
    if unknown := {file.labels["solid"] for file in files} - set(SOLIDS):
        raise ValueError(f"no solid {sorted(unknown)[0]!r}; there are {', '.join(SOLIDS)}")
    if len({len(cloud) for cloud in clouds}) > 1:
        raise ValueError(f"the clouds of {folder} differ in their number of points: generate them anew with points=")
    return cube(np.stack(clouds)), [str(file.labels["solid"]) for file in files]


def real(n: int, points: int, *, seed: int) -> LabelledClouds:
    """``n`` clouds made by code that training did not see."""
    data = Solids(PointReader(points=points), n=n, seed=2**40 + seed)
    read = [data.read(i) for i in range(n)]
    return cube(np.stack([sample.T.numpy() for sample, _ in read])), [str(labels["solid"]) for _, labels in read]


def summary(clouds: LabelledClouds, against: LabelledClouds) -> Row:
    """One row of the report."""
    distance = chamfer_matrix(clouds[0], against[0], title="looking")
    asked, kinds = np.array(clouds[1]), np.array(against[1])
    distance_to_label = np.where(asked[:, None] == kinds, distance, np.inf).min(1)
    right = torch.from_numpy(kinds[distance.argmin(1)] == asked)
    spacing = torch.from_numpy(local_statistics(clouds[0]).spacing)
    return {
        "n": len(asked),
        "right kind": proportion(right),
        "CD to the nearest of its kind, median": bootstrap(torch.from_numpy(distance_to_label), median),
        "spacing, mean": bootstrap(spacing, torch.mean),
    }


def report(folder: Path) -> dict[str, Row]:
    """Rows by name: solids made by code, the generated ones, and blobs."""
    generated = from_folder(folder)
    points = generated[0].shape[1]
    against = real(REAL, points, seed=0)
    noise = np.random.default_rng(0).normal(size=generated[0].shape)
    sets = {"real": real(HELD_OUT, points, seed=1), "generated": generated,
            "Gaussian blobs": (cube(noise), generated[1])}
    return {name: summary(clouds, against) for name, clouds in sets.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: print the table of a folder of generated clouds."""
    return measure(report, arguments, name="points.score_solids", about=__doc__, files="PLY")


if __name__ == "__main__":
    sys.exit(main())
