"""The protocol points-v1: what generated point clouds are worth, beside what real ones would score.

    n clouds of N points, drawn with one seed from each set -> one declared normaliser for all -> scores against the
    reference: MMD, COV and 1-NNA by CD and SWD (and EMD), JSD, and W1 of spacing and surface variation

Rows of the training set tell what a number is worth: drawn clouds of it (the oracle, which a good model equals and does
not beat) and those clouds made wrong in one way each (controls). A score that a control leaves where the oracle is, is
blind to that fault.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...metrics.rows import Row, Value, markdown
from ...metrics.sets import Distances, distance_scores, halves_interval, jensen_shannon, occupancy
from .local import local_scores, local_statistics
from .pairwise import chamfer_matrix, earth_movers_matrix, sliced_wasserstein_matrix

VERSION = "points-v1"
MOST = 200
"""Clouds of a set unless told; beyond, cost grows as n^2 and the standard error of 1-NNA is below 2.5 %."""
EMD_POINTS = 512
FUZZ = 0.05
"""Standard deviation of the noisy control, in half sides of each cloud's box."""
ORACLE = "training clouds"


def half_side(clouds: np.ndarray) -> np.ndarray:
    """``(n, N, 3)`` -> ``(n, 1, 1)``: half the longest side of each bounding box."""
    return np.ptp(clouds, 1).max(1)[:, None, None] / 2


def cube(clouds: np.ndarray) -> np.ndarray:
    """Each cloud of ``(n, N, 3)`` with its bounding box centred and the longest half side 1."""
    half = half_side(clouds)
    return (clouds - (clouds.min(1, keepdims=True) + clouds.max(1, keepdims=True)) / 2) / np.where(half > 0, half, 1)


def normalizing(name: str, reference: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """``"cube"``: each cloud by itself; ``"global"``: all by the mean and deviation of the reference; ``"none"``.

    Only the latter two judge the position and size of a cloud. ``"global"`` divides by three deviations, so that most
    points lie in [-1, 1], where JSD looks.
    """
    mean = reference.mean((0, 1))
    scale = 3 * (reference - mean).std()
    known = {"cube": cube, "global": lambda x: (x - mean) / scale, "none": lambda x: x}
    if name not in known:
        raise ValueError(f"unknown normaliser {name!r}: it is one of {', '.join(known)}")
    return known[name]


def drawn(clouds: Sequence[np.ndarray], n: int, *, points: int, seed: int) -> np.ndarray:
    """``n`` of the clouds, in their order, with ``points`` of each one's points: ``(n, points, 3)`` float64.

    Raises ``ValueError`` where there are fewer clouds or points.
    """
    rng = np.random.default_rng(seed)
    if len(clouds) < n:
        raise ValueError(f"{n} clouds are drawn from each set, one has {len(clouds)}: generate more, or lower n")
    chosen = [clouds[i] for i in np.sort(rng.permutation(len(clouds))[:n])]
    for cloud in chosen:
        if cloud.ndim != 2 or cloud.shape[1] != 3 or len(cloud) < points:
            raise ValueError(f"{points} points are drawn from each cloud (N, 3), one is {cloud.shape}: lower points")
    return np.stack([cloud[rng.permutation(len(cloud))[:points]] for cloud in chosen]).astype(np.float64)


def controls(
    train: Sequence[np.ndarray], n: int, *, points: int, seed: int, labels: Sequence[Any] | None = None
) -> dict[str, np.ndarray]:
    """Clouds ``(n, points, 3)`` made wrong in one way each, by name.

    One class only needs the labels of ``train``. It is that of most clouds, repeated where they are fewer than n.
    """
    real, rng, out = drawn(train, n, points=points, seed=seed), np.random.default_rng([seed, 1]), {}
    if labels is not None:
        classes, counts = np.unique(np.asarray(labels), return_counts=True)
        members = np.flatnonzero(np.asarray(labels) == classes[counts.argmax()])
        members = np.resize(members, max(n, len(members)))
        out["one class only"] = drawn([train[int(i)] for i in members], n, points=points, seed=seed)
    out[f"noise of {FUZZ}"] = real + FUZZ * half_side(real) * rng.normal(size=real.shape)
    quarter = rng.integers(max(1, points // 4), size=(n, points, 1))
    out["a quarter of the points, repeated"] = np.take_along_axis(real, quarter, 1)
    out["Gaussian blobs"] = real.mean((0, 1)) + real.std() * rng.normal(size=real.shape)
    return out


def evaluate(
    samples: Mapping[str, Sequence[np.ndarray]], reference: Sequence[np.ndarray], *,
    train: Sequence[np.ndarray] | None = None, labels: Sequence[Any] | None = None, n: int | None = None,
    points: int = 2048, seed: int = 0, normalizer: str = "cube", emd: bool = False, draws: int = 200, workers: int = 1,
) -> dict[str, Any]:
    """Score sets of clouds ``(N, 3)``, by name, against the reference: ``{"protocol": {...}, "rows": {name: row}}``.

    ``train`` adds the rows of the oracle and the controls, and its ``labels`` that of one class only. ``n`` is at most
    the size of the smallest set, and by default that or ``MOST``. ``draws`` are for intervals, ``workers`` threads.
    Raises ``ValueError`` for sets or clouds that are too small, NaN, and an unknown normaliser.
    """
    if labels is not None and (train is None or len(labels) != len(train)):
        size = None if train is None else len(train)
        raise ValueError(f"labels are those of train, one a cloud: got {len(labels)}, and train of {size}")
    compared = [*samples.values(), reference] + ([] if train is None else [train])
    n = min(MOST, *map(len, compared)) if n is None else n
    sets = {} if train is None else {ORACLE: drawn(train, n, points=points, seed=seed)}
    sets |= {name: drawn(clouds, n, points=points, seed=seed) for name, clouds in samples.items()}
    if train is not None:
        sets |= controls(train, n, points=points, seed=seed, labels=labels)
    real = drawn(reference, n, points=points, seed=seed)
    normalized = normalizing(normalizer, real)
    judge = CloudScorer(normalized(real), emd=emd, draws=draws, seed=seed, workers=workers)
    protocol = {
        "version": VERSION, "normalizer": normalizer, "n": n, "points": points, "seed": seed, "draws": draws,
        "distances": list(judge.distances), "reference_sha256": hashlib.sha256(real.tobytes()).hexdigest(),
    }
    return {"protocol": protocol, "rows": {name: judge(normalized(clouds)) for name, clouds in sets.items()}}


class CloudScorer:
    """Scores of normalised clouds ``(n, N, 3)`` against a normalised reference, of which all is measured once."""

    def __init__(self, reference: np.ndarray, *, emd: bool = False, draws: int = 200, seed: int = 0, workers: int = 1):
        self.reference, self.draws, self.seed = reference, draws, seed
        self.distances: dict[str, Callable[..., np.ndarray]] = {
            "CD": partial(chamfer_matrix, workers=workers), "SWD": partial(sliced_wasserstein_matrix, seed=seed)
        }
        if emd:
            count = min(EMD_POINTS, reference.shape[1])
            self.distances[f"EMD-{count}"] = partial(earth_movers_matrix, points=count, seed=seed, workers=workers)
        self.inner = {name: matrix(reference, title=f"{name}, reference") for name, matrix in self.distances.items()}
        self.local, self.grid = local_statistics(reference), occupancy(reference)

    def __call__(self, samples: np.ndarray) -> Row:
        """MMD, COV and 1-NNA by each distance, JSD, and W1 of spacing and variation, each with its interval."""
        fixed = {"draws": self.draws, "seed": self.seed}
        row: dict[str, Value] = {"n": len(samples)}
        for name, matrix in self.distances.items():
            d = Distances(matrix(samples, self.reference, title=f"{name}, between"), matrix(samples), self.inner[name])
            row |= {f"{score}-{name}": interval for score, interval in distance_scores(d, **fixed).items()}
        grid = occupancy(samples)
        row["JSD"] = halves_interval(
            lambda s, r: jensen_shannon(grid[s].sum(0), self.grid[r].sum(0)), len(grid), len(self.grid), most=1, **fixed
        )
        return row | local_scores(local_statistics(samples), self.local, **fixed)


def table(report: Mapping[str, Any]) -> str:
    """The rows of ``evaluate`` as Markdown, without 1-NNA of either set alone."""
    rows = ({"clouds": name, **row} for name, row in report["rows"].items())
    return markdown([{name: value for name, value in row.items() if "(" not in name} for row in rows])
