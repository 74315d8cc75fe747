"""What is known of a file, from three places at once: its folders, its name, and a table.

    folders    data.folders=[split,label]      train/kick/a.wav  ->  split = train, label = kick
    name       data.pattern, named groups      7_jackson_12.wav  ->  digit = 7, speaker = jackson
    table      data.table, a row a file

They are merged by the names of columns. Where two places say different things of one file, that is an error.
"""

import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from .captions import captions
from .labels import number, text
from .splits import names_parts
from .tables import TableRow

FEW = 10
"""Samples, of which a column may name each: in larger sets one that does is a name of files rather than a class."""
WORDS = 3
"""Words of a caption rather than of a class."""


class Named(NamedTuple):
    """What one place knows of every file; None of a file that is no sample."""

    title: str
    rows: Sequence[TableRow | None]


def from_folders(below: Sequence[str], levels: Sequence[str] | None, *, alone: bool) -> Named:
    """Columns of paths ``below`` the root, by the names of the levels of their folders.

    By default the first is ``label``; where all of the first are names of parts of data, it is ``split`` and the second
    is ``label``. Unless they are ``alone``, folders that are one and the same for all files tell nothing.
    """
    folders = [() if PurePath(path).is_absolute() else PurePath(path).parts[:-1] for path in below]
    folders = [() if ".." in parts else parts for parts in folders]   # a table may name files elsewhere
    if levels is None:
        first = {parts[0] if parts else "" for parts in folders}
        levels = ["split", "label"] if names_parts(first) else ["label"] if alone or len(first) > 1 else []
    return Named("its folder", [dict(zip(levels, parts, strict=False)) for parts in folders])


def from_names(paths: Sequence[Path], pattern: str) -> Named:
    """The named groups of a regular expression that the whole name of a file matches, its ending left out."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"data.pattern={pattern!r} is no regular expression: {error}") from None
    found = (expression.fullmatch(path.stem) for path in paths)
    return Named("its name", [match.groupdict() if match else None for match in found])


def row_of(
    where: str, cells: Mapping[str, Any], scalars: Sequence[str], texts: Sequence[str], labels: Sequence[str] = (),
) -> TableRow:
    """Cells as they condition: names, numbers, captions, or None for what is not told. Lists and objects of JSON,
    unless they are ``texts``, are left out. Raises ``ValueError`` for what cannot be read as it is asked for."""
    row: TableRow = {}
    for name, cell in cells.items():
        if nested(cell) and name not in texts:
            if name in scalars or name in labels:
                raise ValueError(f"{where}: {name} is {json.dumps(cell)[:40]}, no label and no number; a list of texts "
                                 f"is captions, data.texts=[{name}]")
            continue
        try:
            nothing = cell is None or cell == "" or cell != cell
            if name in texts:
                row[name] = captions(cell) or None
            else:
                row[name] = number(cell) if name in scalars else None if nothing else text(cell)
        except ValueError as error:
            if name in texts:
                raise ValueError(f"{where}: {name}: {error}") from None
            raise ValueError(
                f"{where}: {name} is {cell!r}, which is no number (decimals have a point): correct it, leave it "
                f"empty for not told, or leave {name} out of data.scalars"
            ) from None
    return row


def nested(cell: Any) -> bool:
    """Whether a cell of a table holds several values."""
    return isinstance(cell, list | dict)


def merged(where: str, rows: Mapping[str, TableRow]) -> TableRow:
    """One row of what several places know of a file. Raises ``ValueError`` where they differ."""
    found: TableRow = {}
    sources: dict[str, str] = {}
    for title, row in rows.items():
        for name, value in row.items():
            if name in sources and value is not None and value != found[name]:
                raise ValueError(
                    f"{where}: {name} is {found[name]!r} by {sources[name]} and {value!r} by {title}; correct one, or "
                    "name them apart (data.folders=[...] says what folders are, data.folders=[] that they are nothing)"
                )
            if value is not None or name not in found:
                found[name] = value
            if value is not None:
                sources[name] = title
    return found


def no_classes(
    rows: Sequence[TableRow], columns: Sequence[str], scalars: Sequence[str], texts: Sequence[str], where: str,
    several: Iterable[str] = (),
) -> dict[str, str]:
    """The ``columns`` that are empty, name parts of the data or nearly each file, and those that hold ``several``
    values a cell, with what to do about them."""
    unused = {name: "its cells are lists or objects of JSON, so it conditions nothing; data.texts="
                    f"[{name}] takes lists of texts as captions" for name in sorted(several)}
    for name, why in unused.items():
        warnings.warn(f"column {name!r} of {where}: {why}", stacklevel=4)
    for name in (name for name in columns if name not in unused):
        values = [value for row in rows if (value := row.get(name)) is not None]
        if not values and name not in (*scalars, *texts):
            unused[name] = "it is empty, so it conditions nothing"
        elif name not in texts and names_parts(values):
            unused[name] = f"it names parts of the data (loader.val={name}), so it conditions nothing"
        if name in (*scalars, *texts):
            continue
        sentences = sum(len(str(value).split()) >= WORDS for value in values) > len(values) / 2
        if (len(values) >= FEW or sentences) and len(set(values)) > len(values) / 2:
            unused[name] = (
                f"{len(set(values))} values in {len(values)} files are no classes, so it conditions nothing; "
                f"data.labels names what does, data.scalars=[{name}] takes it as a number, data.texts=[{name}] as "
                "captions"
            )
            warnings.warn(f"column {name!r} of {where}: {unused[name]}", stacklevel=4)
    return unused
