"""Label fields, and labels as tensors: of the samples of a data set, and of requests."""

import difflib
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import torch
from torch import Tensor

TEXT: Final = "text"
Field = Sequence[str] | Sequence[float] | Literal["text"]
"""What a field takes: class names, the (low, high) of a scalar, or any text."""
Fields = Mapping[str, Field]
"""What can be told."""

Label = str | float | int | None
SHOWN = 60
"""Letters of a label in a title, at most."""
Column = Tensor | list[str | None]
"""What B samples are told of a field: ``(B,)`` int64 classes, -1 not told; float32 scalars, NaN not told; or texts."""


def is_scalar(field: Field) -> bool:
    """Whether a field is a scalar's range rather than class names."""
    return len(field) == 2 and not any(isinstance(v, str) for v in field)


def is_text(field: Field) -> bool:
    """Whether a field is any text rather than class names or a range."""
    return field == TEXT


def class_names(field: Field) -> list[str]:
    """The classes of a field; none of a scalar or a text."""
    return [] if is_scalar(field) or is_text(field) else [str(name) for name in field]


def kind(field: Field) -> str:
    """What a field takes, in words."""
    return "a text" if is_text(field) else "a number" if is_scalar(field) else "a class"


def plain_fields(fields: Fields) -> dict[str, list[str | float] | str]:
    """Fields as JSON has them."""
    return {name: TEXT if is_text(field) else [*field] for name, field in fields.items()}


def to_device(columns: Mapping[str, Column], device: torch.device) -> dict[str, Column]:
    """Encoded labels on a device; texts stay what they are."""
    return {name: c.to(device) if isinstance(c, Tensor) else c for name, c in columns.items()}


def part_name(name: str) -> str:
    """A field's name as torch takes it for that of a module or parameter: without a dot, and none of its own words.

    >>> part_name("a.b"), part_name("")
    ('of_a%2Eb', 'of_')
    """
    return "of_" + name.replace("%", "%25").replace(".", "%2E")


def text(value: Label) -> str:
    """A class name: the same letters are one name, however Unicode composes them."""
    return unicodedata.normalize("NFC", str(value))


def title(labels: Mapping[str, Label]) -> str:
    """The labels of a sample in a few words."""
    words = (f"{v:g}" if isinstance(v, float) else str(v) for v in labels.values() if v is not None)
    return " ".join(word if len(word) <= SHOWN else f"{word[: SHOWN - 1]}…" for word in words)


def folded(value: Label) -> str:
    """A text whose white space is single spaces. Raises ``ValueError`` for one that no encoding holds."""
    found = " ".join(text(value).split())
    if any("\ud800" <= letter <= "\udfff" for letter in found):
        raise ValueError("it holds half of a letter (a surrogate alone), which no file can")
    return found


def drawn(text: str) -> str:
    """A text as matplotlib has to get it to show it: between two ``$`` it would read a formula, and of what cannot be
    printed it would say that its font has no such."""
    return "".join(c if c.isprintable() else " " for c in text).replace("$", r"\$")


def number(value: Label) -> float | None:
    """A scalar; None, empty and NaN are not told. Raises ``ValueError`` for what is no finite number."""
    if _nothing(value):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is no number")
    parsed = float(value)
    if math.isinf(parsed):
        raise ValueError(f"{value!r} is not finite")
    return None if math.isnan(parsed) else parsed


def field_of(values: Iterable[Label], *, scalar: bool) -> list[str] | tuple[float, float]:
    """The field of a column: the names in it, or its range; what is not told does not count.

    Raises ``ValueError`` for a class or a scalar that no sample tells.
    """
    if not scalar:
        if not (names := sorted({text(value) for value in values if not _nothing(value)})):
            raise ValueError("no sample tells a class")
        return names
    numbers = [parsed for parsed in map(number, values) if parsed is not None]
    if not numbers:
        raise ValueError("no sample tells a number")
    return min(numbers), max(numbers)


def grown(base: Fields, found: Fields) -> dict[str, Field]:
    """The fields of a model that starts as ``base`` and learns from data of the fields ``found``.

    Classes and fields of the base come first, in their order; a scalar keeps its range, as weights know it by that.
    Raises ``ValueError`` for a field that is of another kind there, and for a new text: its tokens would be read beside
    those of the base, which could not keep its bits.
    """
    fields: dict[str, Field] = dict(base)
    for name, field in found.items():
        if name not in base and is_text(field):
            raise ValueError(f"{name} is a text, and the model that is started from was never told it: what reads a "
                             "text cannot be added to a model. Leave it out (data.captions=false, or without its name "
                             "in data.texts), start from a model that has it, or begin a new one without init=")
        if name not in base:
            fields[name] = field
        elif (there := kind(base[name])) != kind(field):
            raise ValueError(f"{name} is {there} to the model that is started from, and {kind(field)} in the "
                             "data: data.texts= and data.scalars= say what a column is, data.labels= which count")
        elif not (is_scalar(field) or is_text(field)):
            fields[name] = [*base[name], *(value for value in field if value not in base[name])]
    return fields


def encode_labels(fields: Fields, rows: Sequence[Mapping[str, Label]]) -> dict[str, Column]:
    """One ``Column`` a field."""
    for row in rows:
        for name in row:
            if name not in fields:
                raise ValueError(f"no label field {name!r}; {suggest(name, list(fields))}")
    return {name: _column(name, field, [row.get(name) for row in rows]) for name, field in fields.items()}


def conditioning(columns: Mapping[str, Label], fields: Fields) -> dict[str, Label]:
    """Those of a sample's columns that condition the model; an empty one is not told."""
    return {name: None if _nothing(value := columns.get(name)) else value for name in fields}


def _nothing(value: Label) -> bool:
    return value is None or value == "" or value != value            # NaN is not itself


def _column(name: str, field: Field, values: list[Label]) -> Column:
    if is_text(field):
        try:
            return [None if _nothing(value) else folded(value) or None for value in values]
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if is_scalar(field):
        low, high = map(float, field)
        return torch.tensor([_scalar(name, (low, high), value) for value in values], dtype=torch.float32)
    classes = class_names(field)
    return torch.tensor([_class(name, classes, value) for value in values])


def _class(name: str, classes: Sequence[str], value: Label) -> int:
    if value is None:
        return -1
    if text(value) not in classes:
        raise ValueError(f"{name} has no class {text(value)!r}; {suggest(text(value), list(classes))}")
    return list(classes).index(text(value))


def _scalar(name: str, bounds: Sequence[float], value: Label) -> float:
    try:
        parsed = number(value)
    except ValueError:
        raise ValueError(f"{name} is a number between {bounds[0]} and {bounds[1]}, got {value!r}") from None
    return math.nan if parsed is None else parsed


def suggest(name: str, known: list[str]) -> str:
    """The end of an error about a name: the nearest known ones, or all of a short list."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"known: {', '.join(known[:20]) or 'none'}" + (f" and {len(known) - 20} more" if len(known) > 20 else "")
