"""Everything that is measured of a set of samples against a reference, as one row with intervals.

Of a set all is measured once (``Measured``); a row is then taken of all of it or of some of its samples, such as those
of one class. Means have bootstrap intervals, shares Wilson's, numbers of two sets the spread on halves of both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..adapters.judge import Between, Judge
from ..data.labels import Label, text
from ..metrics.bootstrap import Interval, bootstrap, median
from ..metrics.classify import classifier_score, proportion, wilson
from ..metrics.coverage import Coverage, coverage_of, feature_distances
from ..metrics.frechet import frechet_distance
from ..metrics.kernel import kernel_distance_of, kernels
from ..metrics.neighbours import nearest_distances
from ..metrics.pairs import consistency, wasserstein
from ..metrics.rows import Value
from ..metrics.sets import (
    Distances,
    halves_interval,
    interval_around,
    matched_fraction,
    matching_distance,
    nearest_neighbour_accuracy,
)
from .embedders.embedder import Embedder, Foreign

RESAMPLES = 500
LEAST = 8
"""Samples that a number of two sets needs."""
COPIED = 0.01
"""Share of real held-out samples that count as copies: those nearest to a training sample."""
BETTER = {
    "FD": -1, "KD": -1, "precision": 1, "recall": 1, "coverage": 1, "identity": 1, "copies": -1, "W1": -1,
}
"""+1 where more is better, -1 where less is; all others should be those of real samples."""


class SetNumber(NamedTuple):
    """A number ``of`` some samples and some ``references``, both by position; it lies in ``least`` to ``most``."""

    of: Callable[..., float]
    references: int
    least: float = 0.0
    most: float = np.inf


@dataclass
class Measured:
    """What was measured of N samples."""

    features: Tensor
    fractions: dict[str, Tensor] = field(default_factory=dict)
    probabilities: dict[str, Tensor] = field(default_factory=dict)
    means: dict[str, Tensor] = field(default_factory=dict)
    medians: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    between: dict[str, tuple[Tensor, Between]] = field(default_factory=dict)
    matrices: dict[str, Distances] = field(default_factory=dict)
    kernels: Distances | None = None
    near: Distances | None = None


class Scorer:
    """Measures sets against ``reference`` ``(M, C, *S)``, training samples; ``k`` neighbours, ``draws`` of halves.

    ``known`` is the judge's, of all training samples.
    """

    def __init__(
        self, judge: Judge, embedder: Embedder | Foreign, codec: Any, reference: Tensor, *, known: Any = None,
        name: str = "own", k: int = 5, draws: int = 50, seed: int = 0,
    ):
        self.judge, self.embedder, self.codec, self.samples, self.name = judge, embedder, codec, reference, name
        self.known, self.k, self.draws, self.seed = known, k, draws, seed
        self.latents = judge.latents(reference, codec)
        self.reference_set = Measured(
            embedder.judge(reference).features, values=judge.values(reference, codec),
            between=judge.between(reference, codec),
        )
        self.nearest: Tensor | None = None

    def better(self, metric: str) -> int:
        """+1, -1, or 0 where a metric should be that of real samples."""
        if metric in self.judge.better:
            return self.judge.better[metric]
        return 1 if metric.endswith(" right") else BETTER.get(metric, BETTER.get(metric.split("-")[0].split(" ")[0], 0))

    def measure(
        self, x: Tensor, labels: Sequence[Mapping[str, Label]], *, truth: Tensor | None = None
    ) -> Measured:
        """All of a set ``(N, C, *S)`` with the labels asked for; ``truth`` are the samples that they were made from.

        The first set that is measured gives the scale of ``nearest``: it must be real and held out.
        """
        judged, judge = self.embedder.judge(x), self.judge
        fractions = {}
        for name, classes in self.embedder.classes.items():
            asked = [row.get(name) for row in labels]
            if all(value is not None for value in asked):
                if strange := {text(value) for value in asked} - set(classes):
                    raise ValueError(f"the embedder learned no {name} {min(strange)!r}: it is one of other data")
                true = torch.tensor([list(classes).index(text(value)) for value in asked])
                fractions[f"{name} right"] = judged.probabilities[name].argmax(1) == true
        nearest = nearest_distances(judge.latents(x, self.codec), self.latents, shifts=judge.shifts)[0]
        if self.nearest is None:
            self.nearest = nearest
        fractions |= judge.fractions(x, self.codec, self.known)
        fractions["copies"] = nearest <= self.nearest.quantile(COPIED)
        means = {"nearest": nearest / self.nearest.mean()}
        if judged.frames is not None:
            means["identity"] = consistency(judged.frames)
        count = min(len(x), len(self.samples))
        return Measured(
            judged.features, fractions, judged.probabilities,
            means | ({} if truth is None else judge.paired(x, truth)), judge.errors(x, labels, self.codec),
            judge.values(x, self.codec), judge.between(x, self.codec), judge.matrices(x, self.samples[:count]),
            kernels(judged.features, self.reference_set.features),
            feature_distances(judged.features, self.reference_set.features[:count]),
        )

    def row(self, m: Measured, rows: Tensor | None = None, among: Tensor | None = None) -> dict[str, Value]:
        """One row, of all samples or those at positions ``rows``, against all references or those at ``among``."""
        rows = torch.arange(len(m.features)) if rows is None else rows
        among = torch.arange(len(self.samples)) if among is None else among
        row: dict[str, Value] = {"n": len(rows)}
        row |= {name: proportion(right[rows]) for name, right in m.fractions.items()}
        if min(len(rows), len(among)) >= LEAST:
            row |= self._sets(m, rows, among)
        for values, statistic in ((m.means, torch.mean), (m.medians, median), (m.values, torch.mean)):
            for name, column in values.items():
                picked = column[rows]
                picked = picked[picked.isfinite()]
                if len(picked) > 1:
                    row[name] = bootstrap(picked, statistic, resamples=RESAMPLES)
        return row

    def _sets(self, m: Measured, rows: Tensor, among: Tensor) -> dict[str, Value]:
        """Numbers of two sets, and those of their coverage."""
        found: dict[str, Value] = {
            name: halves_interval(number.of, len(rows), number.references, draws=self.draws, seed=self.seed,
                                  least=number.least, most=number.most)
            for name, number in self.numbers(m, rows, among).items()
        }
        near = self.near(m, rows, among)
        return found if near is None else found | self._coverage(near)

    def near(self, m: Measured, rows: Tensor, among: Tensor) -> Distances | None:
        """Distances of features to as many references as there were samples; None where those are too few."""
        if m.near is None:
            raise ValueError("a set is scored by its distances to the references: measure it first")
        few = among[among < m.near.between.shape[1]].numpy()
        return m.near.part(rows.numpy(), few) if len(few) >= LEAST else None

    def numbers(self, m: Measured, rows: Tensor, among: Tensor) -> dict[str, SetNumber]:
        """Numbers of two sets, of the samples at ``rows`` and the references at ``among``; those of distances take as
        many references as there were samples."""
        if m.kernels is None or m.near is None:
            raise ValueError("a set is scored by its distances to the references: measure it first")
        ref, n, count, at = self.reference_set, len(rows), len(among), rows.numpy()
        few = among[among < m.near.between.shape[1]].numpy()
        k, near = m.kernels.part(at, among.numpy()), m.near.part(at, few)
        features, reference = m.features[rows], ref.features[among]
        found = {
            f"FD-{self.name}": SetNumber(lambda s, r: frechet_distance(features[s], reference[r]), count),
            f"KD-{self.name}": SetNumber(lambda s, r: kernel_distance_of(k.part(s, r)), count, least=-np.inf),
            "diversity": SetNumber(lambda s, r: _mean_pair(near.samples[np.ix_(s, s)]), n),
        }
        for name, p in m.probabilities.items():
            found[f"{name} score"] = SetNumber(lambda s, r, p=p[rows]: classifier_score(p[s]), n, least=1)
        for name, values in m.values.items():
            a, b = values[rows], ref.values[name][among]
            if a.isfinite().sum() >= LEAST:
                found[f"W1 {name}"] = SetNumber(lambda s, r, a=a, b=b: wasserstein(a[s], b[r]), len(b))
        for name, (values, statistic) in m.between.items():
            a, b = values[rows], ref.between[name][0][among]
            found[name] = SetNumber(lambda s, r, a=a, b=b, f=statistic: f(a[s], b[r]), len(b))
        scores = {"MMD": (matching_distance, np.inf), "COV": (matched_fraction, 1.0), "1-NNA": (_one_nearest, 1.0)}
        for name, d in {"": near, **m.matrices}.items():
            d = d if name == "" else d.part(at, few)
            for score, (f, most) in scores.items():
                if len(few) >= LEAST and (name or score == "1-NNA"):
                    title, size = f"{score}-{name or self.name}", d.between.shape[1]
                    found[title] = SetNumber(lambda s, r, d=d, f=f: f(d.part(s, r)), size, most=most)
        return found

    def coverage(self, d: Distances) -> tuple[np.ndarray, np.ndarray]:
        """The four of ``Coverage``, and what they are on halves ``(draws, 4)``, all of the same."""
        n, m = d.between.shape
        rng, k = np.random.default_rng(self.seed), min(self.k, n // 2 - 1, m // 2 - 1)
        halves = [coverage_of(d.part(rng.permutation(n)[: n // 2], rng.permutation(m)[: m // 2]), k=k)
                  for _ in range(self.draws)]
        return np.array(coverage_of(d, k=k)), np.array(halves)

    def _coverage(self, d: Distances) -> dict[str, Value]:
        """The four with their intervals."""
        (n, m), (values, halves) = d.between.shape, self.coverage(d)
        found: dict[str, Value] = {}
        for name, value, some in zip(Coverage._fields, values, halves.T, strict=True):
            interval = interval_around(value, list(some))
            if name != "density":                                     # a share; on halves it may not move at all
                plain = wilson(float(value), n if name == "precision" else m)
                low, high = min(plain.low, interval.low), max(plain.high, min(1.0, interval.high))
                interval = Interval(interval.value, low, high)
            found[name] = interval
        return found


def _one_nearest(d: Distances) -> float:
    return nearest_neighbour_accuracy(d).all


def _mean_pair(distances: np.ndarray) -> float:
    n = len(distances)
    return float(distances.sum() / (n * (n - 1)))

