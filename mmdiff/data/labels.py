"""Label fields, and labels as tensors: what a data set can tell of its samples and a request of its wishes."""

import difflib
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Fields = Mapping[str, Sequence[str] | Sequence[float]]
"""What can be told: a field is either its class names, or the (low, high) of a scalar."""

Label = str | float | int | None


def is_scalar(field: Sequence[str] | Sequence[float]) -> bool:
    """Whether a field is a scalar's range rather than class names."""
    return len(field) == 2 and not any(isinstance(v, str) for v in field)


def encode_labels(fields: Fields, rows: Sequence[Mapping[str, Label]]) -> dict[str, Tensor]:
    """One ``(B,)`` tensor a field: int64 classes (-1 = not told) or float32 scalars (NaN = not told)."""
    for row in rows:
        for name in row:
            if name not in fields:
                raise ValueError(f"no label field {name!r}; {suggest(name, list(fields))}")
    return {name: _column(name, field, [row.get(name) for row in rows]) for name, field in fields.items()}


def told(columns: Mapping[str, Label], fields: Fields) -> dict[str, Label]:
    """Those of a sample's columns that condition the model; an empty one is not told."""
    return {name: None if columns.get(name) == "" else columns.get(name) for name in fields}


def _column(name: str, field: Sequence[str] | Sequence[float], values: list[Label]) -> Tensor:
    if is_scalar(field):
        return torch.tensor([_scalar(name, field, value) for value in values], dtype=torch.float32)
    return torch.tensor([_class(name, field, value) for value in values])


def _class(name: str, classes: Sequence[str], value: Label) -> int:
    if value is None:
        return -1
    if str(value) not in classes:
        raise ValueError(f"{name} has no class {str(value)!r}; {suggest(str(value), list(classes))}")
    return list(classes).index(str(value))


def _scalar(name: str, bounds: Sequence[float], value: Label) -> float:
    if value is None:
        return math.nan
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{name} is a number between {bounds[0]} and {bounds[1]}, got {value!r}") from None


def suggest(given: str, known: list[str]) -> str:
    """The end of an error about a name: the nearest known ones, or all of a short list."""
    near = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"known: {', '.join(known[:20]) or 'none'}" + (f" and {len(known) - 20} more" if len(known) > 20 else "")
