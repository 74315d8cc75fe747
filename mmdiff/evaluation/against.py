"""Whether one model is better than another: samples of both with the same labels and seeds, and what differs.

    difference = number of a - number of b,      with its interval;  better where all of that is on the better side

Samples belong together in pairs, and numbers of sets are of the same halves of both: so what both have of chance alike,
such as the labels and the references, widens no interval.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..metrics.bootstrap import Interval, bootstrap, median
from ..metrics.coverage import Coverage
from ..metrics.rows import Row
from ..metrics.sets import halves_interval, interval_around
from .scorer import LEAST, RESAMPLES, Measured, Scorer, SetNumber

BETTER, WORSE, SAME = "better", "worse", "no difference is seen"


def difference(scorer: Scorer, a: Measured, b: Measured) -> dict[str, Interval]:
    """How much more ``a`` has of each number than ``b``."""
    return {**dict(_of_sets(scorer, a, b)), **dict(_of_pairs(a, b))}


def table(rows: Mapping[str, Row], found: Mapping[str, Interval], better: Mapping[str, int]) -> list[dict[str, Any]]:
    """Each number of two ``rows``, the first against the second, with the difference and what it says: nothing of
    numbers that should be those of real samples."""
    (first, mine), (other, theirs) = rows.items()
    return [{"": name, first: mine.get(name, ""), other: theirs.get(name, ""), "difference": value,
             "says": verdict(value, better.get(name, 0))} for name, value in found.items()]


def verdict(value: Interval, sign: int) -> str:
    """What a difference says where more (+1) or less (-1) is better."""
    if sign == 0 or value.low <= 0 <= value.high:
        return SAME if sign else ""
    return BETTER if (value.low > 0) == (sign > 0) else WORSE


def sentence(rows: list[dict[str, Any]], *, name: str, other: str) -> str:
    """What a table says, in a line."""
    found = {word: [row[""] for row in rows if row["says"] == word] for word in (BETTER, WORSE)}
    judged = sum(bool(row["says"]) for row in rows)
    if not any(found.values()):
        return f"{name} and {other} are not told apart by any of {judged} numbers: more samples (evaluation.n) "\
               "see more."
    said = "; ".join(f"{word} by {len(n)} of {judged}: {', '.join(n)}" for word, n in found.items() if n)
    return f"{name} against {other}: {said}."


def _of_sets(scorer: Scorer, a: Measured, b: Measured) -> Iterator[tuple[str, Interval]]:
    n, among = len(a.features), torch.arange(len(scorer.samples))
    if min(n, len(among)) < LEAST:
        return
    mine, theirs = (scorer.numbers(m, torch.arange(n), among) for m in (a, b))
    for name, number in mine.items():
        if name in theirs:
            yield name, halves_interval(_minus(number, theirs[name]), n, number.references, least=-np.inf,
                                        draws=scorer.draws, seed=scorer.seed)
    near = [scorer.near(m, torch.arange(n), among) for m in (a, b)]
    if near[0] is not None and near[1] is not None:
        (first, some), (other, others) = scorer.coverage(near[0]), scorer.coverage(near[1])
        for i, name in enumerate(Coverage._fields):
            yield name, interval_around(first[i] - other[i], list(some[:, i] - others[:, i]), least=-np.inf)


def _of_pairs(a: Measured, b: Measured) -> Iterator[tuple[str, Interval]]:
    for kind in ("fractions", "means", "medians", "values"):
        statistic = median if kind == "medians" else torch.mean
        mine, theirs = getattr(a, kind), getattr(b, kind)
        for name in (name for name in mine if name in theirs):
            pairs = torch.stack([mine[name].double(), theirs[name].double()], 1)
            pairs = pairs[pairs.isfinite().all(1)]
            if len(pairs) > 1:
                yield name, bootstrap(pairs, _between(statistic), resamples=RESAMPLES)


def _minus(mine: SetNumber, theirs: SetNumber) -> Callable[[np.ndarray, np.ndarray], float]:
    return lambda s, r: mine.of(s, r) - theirs.of(s, r)


def _between(statistic: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda pairs: statistic(pairs[:, 0]) - statistic(pairs[:, 1])
