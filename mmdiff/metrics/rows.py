"""Rows of measurements as a Markdown table, and as JSON.

A value is text, a number (three significant digits, whole numbers in full), or a number with the ends of its interval.
"""

import re
from collections.abc import Mapping, Sequence

from .bootstrap import Interval

Value = str | int | float | Interval
Row = Mapping[str, Value]


def markdown(rows: Sequence[Row]) -> str:
    """A table whose columns are all keys in order of appearance; what a row lacks is left empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [list(map(cell, columns)), ["---"] * len(columns)]
    lines += [[_text(row[name]) if name in row else "" for name in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: Value) -> str:
    if isinstance(value, Interval):
        return f"{_text(value.value)} [{_text(value.low)}, {_text(value.high)}]"
    if isinstance(value, float):
        return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
    return cell(str(value))


def cell(text: str) -> str:
    """A text as a cell holds it: in one line, and neither a border of the table nor HTML."""
    return re.sub(r"[|<]", r"\\\g<0>", " ".join(text.split()))


def cell_text(cell: str) -> str:
    """The text that a cell holds."""
    return re.sub(r"\\([|<])", r"\1", cell)


def plain(row: Mapping[str, object]) -> dict[str, object]:
    """A row for JSON: intervals as ``{"value", "low", "high"}``."""
    return {name: value._asdict() if isinstance(value, Interval) else value for name, value in row.items()}
