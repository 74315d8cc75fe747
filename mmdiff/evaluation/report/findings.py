"""What follows from rows: which fault a metric cannot see, and which group comes off worst.

    blind       |control - floor| <= (h_control^2 + h_floor^2)^(1/2),   h the half of the interval that faces the other
    disobeyed   labels of the model are right at most FAR times as often as real ones, beyond both intervals
    shortfall   how much worse the model is in a group than real samples of that group; gap = worst - best
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from scipy.stats import studentized_range
from torch import Tensor

from ...data.labels import Label, is_scalar, text
from ...metrics.bootstrap import Interval
from ...metrics.rows import Row, Value

FAR = 0.7
"""Share of the accuracy of real samples at which labels are no longer what was asked for."""


def apart(a: Interval, b: Interval) -> bool:
    """Whether two numbers differ by more than their intervals allow together."""
    below, above = sorted((a, b), key=lambda interval: interval.value)
    return above.value - below.value > ((below.high - below.value) ** 2 + (above.value - above.low) ** 2) ** 0.5


def sensitivity(rows: Mapping[str, Row], floor: str) -> dict[str, dict[str, bool]]:
    """For each metric and each other row: is it told apart from the floor?"""
    metrics = {name: value for name, value in rows[floor].items() if isinstance(value, Interval)}
    return {
        metric: {
            name: apart(least, value)
            for name, row in rows.items() if name != floor and isinstance(value := row.get(metric), Interval)
        }
        for metric, least in metrics.items()
    }


def disobeyed(models: Mapping[str, Row], floor: Row, better: Mapping[str, int]) -> list[str]:
    """A sentence for each row of ``models`` whose samples are not of the class that was asked for: how often they are,
    and which metrics look as good as those of real samples all the same, as they compare sets and not labels."""
    found, real = [], {name: value for name, value in floor.items() if isinstance(value, Interval)}
    for name, values in models.items():
        row = {metric: value for metric, value in values.items() if isinstance(value, Interval) and metric in real}
        for label in (metric for metric in row if metric.endswith(" right")):
            said, true = row[label], real[label]
            if said.value > FAR * true.value or not apart(said, true):
                continue
            fine = [
                metric for metric, value in row.items() if better.get(metric, 0) and not metric.endswith(" right")
                and not (apart(value, real[metric]) and shortfall(value, real[metric], better[metric]) > 0)
            ]
            sentence = f"Warning: {label} is {said.value:.0%} in {name}, {true.value:.0%} in real samples"
            blind = f"; {', '.join(fine)} look at no label and do not show it" if fine else ""
            found.append(f"{sentence}{blind}. Longer training, or more guidance, is what labels need.")
    return found


def shortfall(model: Interval, real: Interval, better: int) -> float:
    """Above 0 where the model is worse than real samples, in the metric's unit."""
    difference = model.value - real.value
    return abs(difference) if better == 0 else -better * difference


def gaps(
    groups: Mapping[str, Mapping[str, Row]], real: Mapping[str, Mapping[str, Row]], better: Callable[[str], int]
) -> list[dict[str, Value]]:
    """For each field and metric the group that the model serves worst, how far behind it is of real samples, and of the
    group that is served best, with an interval. ``groups`` and ``real`` are rows by field and value."""
    found = []
    for name, rows in groups.items():
        metrics = dict.fromkeys(metric for row in rows.values() for metric in row)
        for metric in metrics:
            pairs: dict[str, tuple[Any, Any]] = {
                value: (row.get(metric), real[name][value].get(metric)) for value, row in rows.items()
            }
            intervals = {v: p for v, p in pairs.items() if all(isinstance(x, Interval) for x in p)}
            if len(intervals) < 2:
                continue
            behind = {v: shortfall(*p, better(metric)) for v, p in intervals.items()}
            worst, best = max(behind, key=behind.__getitem__), min(behind, key=behind.__getitem__)
            gap = behind[worst] - behind[best]
            if gap == 0:                                              # all groups are served alike
                continue
            half = sum((x.high - x.low) ** 2 / 4 for v in (worst, best) for x in intervals[v]) ** 0.5
            found.append({
                "by": name, "metric": metric, "worst": worst, "its value": intervals[worst][0],
                "real": intervals[worst][1], "best": best, "gap": Interval(gap, gap - half, gap + half),
                "beyond chance": "yes" if gap > half * chance(len(intervals)) else "no",
            })
    return found


@lru_cache
def chance(groups: int) -> float:
    """Half widths by which the extremes of so many equal groups differ in 1 of 20 cases: the studentized range."""
    return float(studentized_range.ppf(0.95, groups, 10_000)) / (2**0.5 * 1.96)


def grouped(labels: Sequence[Mapping[str, Label]], name: str, field: Sequence) -> dict[str, Tensor]:
    """Positions of the samples with each value of a field; a scalar's range is cut into thirds."""
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(labels):
        value = row.get(name)
        if value is None:
            continue
        if is_scalar(field):
            low, high = (float(v) for v in field)
            third = min(2, max(0, int(3 * (float(value) - low) / max(high - low, 1e-12))))
            value = f"{low + third * (high - low) / 3:g} to {low + (third + 1) * (high - low) / 3:g}"
        groups.setdefault(text(value), []).append(i)
    return {value: torch.tensor(groups[value]) for value in sorted(groups)}


def behind(report: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Groups that are served worst, beyond chance, with the number of metrics that say so, the worst first."""
    parts = (f"{gap['by']} {gap['worst']}" for gap in report["gaps"] if gap["beyond chance"] == "yes")
    return Counter(parts).most_common()
