"""What is asked for, as requests: ``n`` alike, or a row of a table each.

A class is told by its name, which is a text as it stands; a scalar by a number. In a table a field is a column of its
name, or of ``cond.`` and its name: what a field called ``seed``, ``name`` or ``mode`` needs; ``not.`` and its name is
what guidance leads away from, ``control.`` and the name of a map the file that it is made of. What a row says of an
edit goes before what was said for all; files are paths from the table's own folder on.
"""

import json
import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..config import kinds as kind
from ..config.build import ConfigError
from ..config.keys import TABLES, Draw
from ..data.columns import nested
from ..data.labels import Fields, Label, is_scalar, is_text
from ..data.maps import COLUMN, NESTED, flattened
from ..data.tables import read_table
from ..generation.edits import Edit
from ..generation.references import Reference, referred
from ..generation.request import Request

EDIT = {name: TABLES["sample"][name] for name in ("mode", "input", "keep", "overlap", "hole")}
"""What is said of an edit, on the command line and in a table."""


def requests_of(
    table: str | None, *, n: int, seed: int, cond: Mapping[str, Label], size: Mapping[str, float],
    kinds: Mapping[str, Any], edit: Mapping[str, Any], fields: Fields, negative: Mapping[str, Label] | None = None,
    controls: Mapping[str, Reference] | None = None,
) -> list[Request]:
    """The requests; sample i has the seed ``seed + i`` where its row names none. ``kinds`` are those of sizes, ``edit``
    what is said of an edit for all.

    Raises ``ConfigError`` naming the row and the column of what cannot be taken.
    """
    if table is None:
        parsed = edit_of(edit)
        request = partial(Request, labels=dict(cond), negative=dict(negative or {}), size=dict(size), edit=parsed,
                        controls=dict(controls or {}))
        return [request(seed=seed + i) for i in range(n)]
    rows = read_table(table)
    if not rows:
        raise ConfigError(f"{table} holds no request")
    columns = {column for row in rows for column in row}
    unclear = [column for column in ("seed", "name", *EDIT, *kinds) if column in columns and column in fields]
    if unclear := [column for column in unclear if f"cond.{column}" not in columns and column not in cond]:
        raise ConfigError(f"{table}: {unclear[0]} is the sample's own and a field of the model too; tell the field in "
                          f"a column cond.{unclear[0]}")
    requests = []
    for i, cells in enumerate(rows):
        where = f"{table}, row {i + 1}"
        try:
            told = cells if NESTED in fields else flattened(cells)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None
        row = {name: value for name, value in told.items() if value is not None}       # an empty cell says nothing
        for name, value in row.items():
            if nested(value) and not (isinstance(value, list) and all(isinstance(part, str) for part in value)):
                raise ConfigError(f"{where}: {name} is a text or a number, got {json.dumps(value)[:40]}")
        row_seed = _number(row.pop("seed", seed + i), Draw, f"{where}: seed")
        scales = {name: _number(row.pop(name), taken, f"{where}: {name}")
                  for name, taken in kinds.items() if name in row}
        name = row.pop("name", None)
        if isinstance(name, float | bool):
            raise ConfigError(f"{where}: name is a text, got {name!r}")
        folder = Path(table).expanduser().parent
        edit_cells = {**edit, **_edit_cells(row, folder, where)}
        maps = [column for column in row if column.startswith(COLUMN) and column not in fields]
        files = {column.removeprefix(COLUMN): folder / Path(str(row.pop(column))).expanduser() for column in maps}
        away = {column for column in row if column.startswith("not.") and column not in fields}
        named = {_field(column, fields): cell for column, cell in row.items() if column not in away}
        kept = {column.removeprefix("not."): row[column] for column in away}
        requests.append(Request(
            seed=row_seed, name=None if name is None else str(name), size={**size, **scales},
            edit=edit_of(edit_cells, f"{where}: "), labels={**cond, **labels_of(named, fields, f"{where}: ")},
            negative={**(negative or {}), **labels_of(kept, fields, f"{where}: ")},
            controls={**(controls or {}), **controls_of(files, f"{where}: ")},
        ))
    return requests


def controls_of(files: Mapping[str, str | Path], where: str = "") -> dict[str, Reference]:
    """The files that maps are made of, by control."""
    try:
        return referred(files)
    except ValueError as error:
        raise ConfigError(f"{where}{error}") from None


def edit_of(cells: Mapping[str, Any], where: str = "") -> Edit | None:
    """The edit that is told by its words; None where nothing is said."""
    if cells and not {"mode", "input"} <= set(cells):
        raise ConfigError(f"{where}to start from a file give both mode= and input= (keep=, overlap= and hole= go with "
                          "them)")
    try:
        return Edit(**cells) if cells else None
    except ValueError as error:
        raise ConfigError(f"{where}{error}") from None


def _edit_cells(row: dict[str, Any], folder: Path, where: str) -> dict[str, Any]:
    """What a row says of an edit, taken out of it."""
    cells = {name: row.pop(name) for name in EDIT if name in row}
    numbers = [name for name in ("keep", "overlap") if name in cells]
    cells |= {name: _number(cells[name], EDIT[name], f"{where}: {name}") for name in numbers}
    if "hole" in cells:
        ends = re.split(r"[\s,;]+", str(cells["hole"]).strip("[]() "))
        cells["hole"] = tuple(_number(end, float, f"{where}: hole") for end in ends)
    if "input" in cells:
        cells["input"] = folder / Path(str(cells["input"])).expanduser()
    return cells


def _field(column: str, fields: Fields) -> str:
    return column if column in fields else column.removeprefix("cond.")


def labels_of(values: Mapping[str, Any], fields: Fields, where: str = "", *, group: str = "cond") -> dict[str, Label]:
    """Labels as the model takes them. Names that no field has are left for the model to refuse."""
    where = where or f"{group}."
    labels: dict[str, Label] = {}
    for name, value in values.items():
        field = fields.get(name)
        if field is not None and is_text(field) and isinstance(value, str):
            labels[name] = value or None
            continue
        if value == "" or isinstance(value, bool | list):
            raise ConfigError(f"{where}{name} is {_words(field)}, got {value!r}")
        labels[name] = value if field is None or not is_scalar(field) else _scalar(name, field, value, where)
    return labels


def _scalar(name: str, field: Any, value: Any, where: str) -> float:
    try:
        if math.isfinite(number := float(value)):
            return number
    except (TypeError, ValueError):
        pass
    raise ConfigError(f"{where}{name} is {_words(field)}, got {value!r}")


def _words(field: Any) -> str:
    if field is not None and is_scalar(field):
        return f"a number between {field[0]:g} and {field[1]:g}"
    return "a text" if field is not None and is_text(field) else "the name of a class"


def _number(value: Any, taken: Any, key: str) -> Any:
    """A number of a cell, where those of CSV are texts."""
    found = value
    if isinstance(value, str):
        for parse in (int, float):
            try:
                found = parse(value)
                break
            except ValueError:
                pass
    try:
        kind.check(found, taken, key=key)
    except kind.KindError:
        raise ConfigError(f"{key} is {kind.words(taken)}, got {value!r}") from None
    return found
