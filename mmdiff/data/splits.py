"""What of a data set is trained on, and what is held out for validation.

    share            of samples, by the hashes of their names      {column: values}   the samples with those values
    share of groups  all of a speaker, by the hashes of values     column             its train, val and test
    share of time    the last part of each file
"""

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence

from .dataset import Dataset, Subset
from .labels import Label, number, suggest, text

TRAIN, VAL, TEST = ("train", "training"), ("val", "valid", "validation", "dev"), ("test", "testing")
"""Names of the parts of data: what is trained on, what is held out, and what is used for neither."""

Val = float | str | Mapping[str, Sequence[Label]]


def names_parts(values: Iterable[Label]) -> bool:
    """Whether a column's values (of which there is one at least) are names of parts of data."""
    found = {str(value).lower() for value in values}
    return bool(found) and found <= {*TRAIN, *VAL, *TEST}


def split(
    dataset: Dataset, val: Val, *, group: str | None = None, by_time: bool = False
) -> tuple[Dataset, Dataset]:
    """Training and validation part.

    A number holds out exactly that share of samples, those whose names have the least hashes: where files are added,
    some of the new ones, and a few at the border may cross. With ``group``, the name of a column, samples of one value
    stay together: the share is met as nearly as groups allow. ``by_time`` holds out the last share of each file.
    A mapping such as ``{index: [0, 1, 2]}`` holds out the samples whose columns have those values; a text is the column
    that says of each sample whether it is for training, validation or (where nothing is for validation) test.
    """
    named = isinstance(val, str | Mapping)
    if named and (group is not None or by_time):
        raise ValueError(f"loader.group and loader.by_time go with a share held out, not with loader.val={val}")
    if not isinstance(val, str | Mapping) and not 0 <= val < 1:
        raise ValueError(f"loader.val is a share in [0, 1), a column or a mapping of columns to values, got {val!r}")
    if by_time and group is not None:
        raise ValueError("loader.by_time holds out a part of every file, loader.group whole ones: use one")
    columns = [dataset.column(i) for i in range(len(dataset))]
    if not named and val and not by_time and (column := _split_column(columns)):
        warnings.warn(f"the data name their own parts in the column {column!r}, and loader.val={val} mixes them; "
                      f"loader.val={column} keeps them apart", stacklevel=2)
    if isinstance(val, str):
        rest, held_out = _named(dataset, columns, val)
    elif by_time and val and not isinstance(val, Mapping):
        return dataset.cut(1 - val)
    else:
        held_out = _matching(columns, val) if isinstance(val, Mapping) else _least(dataset, columns, val, group)
        chosen = set(held_out)
        rest = [i for i in range(len(dataset)) if i not in chosen]
    if not rest:
        raise ValueError(f"all {len(dataset)} samples are held out for validation (loader.val={val}): none is left")
    return Subset(dataset, rest), Subset(dataset, held_out)


def _least(dataset: Dataset, columns: Sequence[Mapping[str, Label]], fraction: float, group: str | None) -> list[int]:
    """The groups (without a column: the samples) of least hash, as many as come nearest to the share."""
    if group is not None:
        _known("loader.group", group, columns)
    groups: dict[tuple[str, bool], list[int]] = {}
    for i, column in enumerate(columns):
        value = None if group is None else column.get(group)
        groups.setdefault((dataset.name(i), False) if value is None else (text(value), True), []).append(i)
    order = sorted(groups, key=lambda key: hashlib.sha256(key[0].encode()).digest())
    wanted, held_out = fraction * len(dataset), list[int]()
    for key in order[: len(order) - 1 if fraction else 0]:            # one is left to train on
        if held_out and abs(len(held_out) + len(groups[key]) - wanted) >= abs(len(held_out) - wanted):
            break
        held_out += groups[key]
    return sorted(held_out)


def _matching(columns: Sequence[Mapping[str, Label]], wanted: Mapping[str, Sequence[Label]]) -> list[int]:
    for name in wanted:
        _known("loader.val", name, columns)
    held_out = [
        i for i, column in enumerate(columns)
        if all(any(_same(column.get(name), value) for value in values) for name, values in wanted.items())
    ]
    if not held_out:
        raise ValueError(f"no sample has {dict(wanted)}: nothing would be held out for validation")
    return held_out


def _named(dataset: Dataset, columns: Sequence[Mapping[str, Label]], name: str) -> tuple[list[int], list[int]]:
    """(for training, held out) by a column that names parts."""
    _known("loader.val", name, columns)
    parts: dict[str, list[int]] = {}
    for i, column in enumerate(columns):
        part = str(column.get(name)).lower()
        if part not in (*TRAIN, *VAL, *TEST):
            raise ValueError(
                f"{name} of {dataset.name(i)} is {column.get(name)!r}, not one of {', '.join((*TRAIN, *VAL, *TEST))}; "
                f"loader.val={{{name}: [VALUE]}} holds out the samples of a value"
            )
        parts.setdefault(part, []).append(i)
    train, held_out, test = (sorted(i for part in kind for i in parts.get(part, ())) for kind in (TRAIN, VAL, TEST))
    if not (held_out or test):
        raise ValueError(f"no {name} is {' or '.join((*VAL, *TEST))}: nothing would be held out for validation")
    return train, held_out or test


def _split_column(columns: Sequence[Mapping[str, Label]]) -> str | None:
    """A column that names what is trained on and something else, if there is one."""
    for name in columns[0] if columns else ():
        values = {str(column.get(name)).lower() for column in columns}
        if names_parts(values) and values & {*TRAIN} and values - {*TRAIN}:
            return name
    return None


def _known(key: str, name: str, columns: Sequence[Mapping[str, Label]]) -> None:
    known = list(dict.fromkeys(known for column in columns for known in column))
    if name not in known:
        raise ValueError(f"{key} names the column {name!r}; {suggest(name, known)}")


def _same(there: Label, wanted: Label) -> bool:
    """Scalars are equal as numbers, classes as text."""
    try:
        return number(wanted) == there if isinstance(there, float) else text(wanted) == text(there)
    except ValueError:
        return False
