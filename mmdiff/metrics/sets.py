"""Two sets of things, known by their distances alone: S samples, R references.

    MMD    = mean_r min_s d(s, r)                                                          (Achlioptas et al. 2018)
    COV    = |{argmin_r d(s, r) : s in S}| / |R|
    1-NNA  = share of S + R whose nearest other member is of their own set, 1/2 where S = R      (Yang et al. 2019)
    JSD    = H((p + q) / 2) - (H(p) + H(q)) / 2 in bits,    p, q the occupancy of a grid by all points of a set

COV of real data is near 0.55 at equal counts, not 1; all but 1-NNA move with the counts: compare at one count only.

A draw with replacement holds copies, each the other's nearest neighbour, which breaks all of these. Intervals come from
halves without replacement: of n things, the mean of n/2 varies about that of n with variance s^2 / n, just as that of n
varies about its expectation, so the spread of the statistic on halves is its standard error with no factor (delete-half
jackknife, Shao & Wu 1989). Only the spread is used, not the level, which depends on n.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .bootstrap import Interval


class Distances(NamedTuple):
    """Matrices of one distance."""

    between: np.ndarray
    """``(n, m)``: samples in rows, references in columns."""
    samples: np.ndarray
    """``(n, n)``."""
    references: np.ndarray
    """``(m, m)``."""

    def part(self, s: np.ndarray, r: np.ndarray) -> "Distances":
        """Of samples ``s`` and references ``r``, given by position."""
        return Distances(self.between[np.ix_(s, r)], self.samples[np.ix_(s, s)], self.references[np.ix_(r, r)])


def matching_distance(d: Distances) -> float:
    """MMD, in units of the distance."""
    return float(d.between.min(0).mean())


def matched_fraction(d: Distances) -> float:
    """COV, in (0, 1]."""
    return len(np.unique(d.between.argmin(1))) / d.between.shape[1]


class NearestNeighbourAccuracy(NamedTuple):
    """1-NNA of all, and of either set alone: of samples high and references low is a set that has collapsed."""

    all: float
    samples: float
    references: float


def nearest_neighbour_accuracy(d: Distances) -> NearestNeighbourAccuracy:
    """1-NNA (Lopez-Paz & Oquab 2017); where both sets are equally near, half a point.

    Below 1/2, samples lie nearer to references than references to each other: copies, or too few samples.
    """
    samples = _nearest_within(d.samples, d.between.min(1))
    references = _nearest_within(d.references, d.between.min(0))
    correct = np.concatenate([samples, references]).mean()
    return NearestNeighbourAccuracy(float(correct), float(samples.mean()), float(references.mean()))


def _nearest_within(within: np.ndarray, other: np.ndarray) -> np.ndarray:
    nearest = (within + np.diag(np.full(len(within), np.inf))).min(1)
    return (nearest < other) + 0.5 * (nearest == other)


def occupancy(clouds: np.ndarray, *, resolution: int = 28) -> np.ndarray:
    """How many points of each cloud ``(n, N, 3)`` lie in each cell of a grid over [-1, 1]^3: ``(n, resolution^3)``.

    Counts are float32; points outside count in the cell at the edge.
    """
    cells = np.clip((clouds + 1) / 2 * resolution, 0, resolution - 1).astype(np.int64)
    flat = np.ravel_multi_index(tuple(np.moveaxis(cells, -1, 0)), (resolution,) * 3)
    return np.stack([np.bincount(row, minlength=resolution**3) for row in flat]).astype(np.float32)


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """JSD of two sets of counts ``(V,)``, in bits: 0 where they are proportional, 1 where no cell is shared."""
    p, q = p / p.sum(dtype=np.float64), q / q.sum(dtype=np.float64)
    return _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def halves_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float], n: int, m: int, *, least: float = 0.0, most: float = np.inf,
    draws: int = 200, confidence: float = 0.95, seed: int = 0,
) -> Interval:
    """The value on all, and an interval of the width that ``statistic`` has on halves, kept in ``least`` to ``most``.

    ``statistic`` takes the positions of samples (of n) and references (of m). Raises ``ValueError`` for fewer than 4.
    """
    if min(n, m) < 4:
        raise ValueError(f"an interval from halves needs 4 samples and 4 references at least, got {n} and {m}")
    rng = np.random.default_rng(seed)
    values = [statistic(rng.permutation(n)[: n // 2], rng.permutation(m)[: m // 2]) for _ in range(draws)]
    return interval_around(statistic(np.arange(n), np.arange(m)), values, least=least, most=most, confidence=confidence)


def interval_around(
    value: float, halves: Sequence[float], *, least: float = 0.0, most: float = np.inf, confidence: float = 0.95
) -> Interval:
    """An interval about ``value`` of the width that its values on halves have, kept in ``least`` to ``most``.

    The k-th of B values has a share of k / (B + 1) below it, whatever their distribution, so B = 39 is the least that
    reaches to 95 %: fewer cover 1 - 2 / (B + 1).
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(halves, [tail, 1 - tail], method="weibull") - np.mean(halves)
    return Interval(float(value), max(least, float(value + min(low, 0))), min(most, float(value + max(high, 0))))


def distance_scores(d: Distances, *, draws: int = 200, seed: int = 0) -> dict[str, Interval]:
    """MMD, COV, and 1-NNA of all, of samples (S) and of references (R), each with its interval."""
    statistics: dict[str, tuple[Callable[[Distances], float], float]] = {
        "MMD": (matching_distance, np.inf),
        "COV": (matched_fraction, 1),
        "1-NNA": (lambda part: nearest_neighbour_accuracy(part).all, 1),
        "1-NNA(S)": (lambda part: nearest_neighbour_accuracy(part).samples, 1),
        "1-NNA(R)": (lambda part: nearest_neighbour_accuracy(part).references, 1),
    }
    n, m = d.between.shape

    def interval(statistic: Callable[[Distances], float], most: float) -> Interval:
        return halves_interval(lambda s, r: statistic(d.part(s, r)), n, m, most=most, draws=draws, seed=seed)

    return {name: interval(*bounded) for name, bounded in statistics.items()}
