"""What is asked for, as requests: ``n`` alike, or a row of a table each.

A class is told by its name, which is a text as it stands; a scalar by a number. In a table a field is a column of its
name, or of ``cond.`` and its name: what a field called ``seed`` or ``name`` needs.
"""

import math
from collections.abc import Mapping
from typing import Any

from ..config import kinds as kind
from ..config.build import ConfigError
from ..config.keys import Draw
from ..data.labels import Fields, Label, is_scalar, is_text
from ..data.tables import read_table
from ..generation.edits import Edit
from ..generation.request import Request


def wishes(
    table: str | None, *, n: int, seed: int, cond: Mapping[str, Label], size: Mapping[str, float],
    kinds: Mapping[str, Any], edit: Edit | None, fields: Fields,
) -> list[Request]:
    """The requests; sample i has the seed ``seed + i`` where its row names none. ``kinds`` are those of sizes.

    Raises ``ConfigError`` naming the row and the column of what cannot be taken.
    """
    if table is None:
        return [Request(seed=seed + i, labels=dict(cond), size=dict(size), edit=edit) for i in range(n)]
    rows = read_table(table)
    if not rows:
        raise ConfigError(f"{table} holds no request")
    requests = []
    for i, cells in enumerate(rows):
        where = f"{table}, row {i + 1}"
        row = {name: value for name, value in cells.items() if value is not None}      # an empty cell says nothing
        taken = [column for column in ("seed", "name", *kinds) if column in row and column in fields]
        if unclear := [column for column in taken if f"cond.{column}" not in row and column not in cond]:
            raise ConfigError(f"{where}: {unclear[0]} is the sample's own and a field of the model too; tell the field "
                              f"in a column cond.{unclear[0]}")
        own_seed = _number(row.pop("seed", seed + i), Draw, f"{where}: seed")
        own = {name: _number(row.pop(name), taken, f"{where}: {name}") for name, taken in kinds.items() if name in row}
        name = row.pop("name", None)
        if isinstance(name, float | bool):
            raise ConfigError(f"{where}: name is a text, got {name!r}")
        named = {_field(column, fields): cell for column, cell in row.items()}
        requests.append(Request(
            seed=own_seed, name=None if name is None else str(name), size={**size, **own}, edit=edit,
            labels={**cond, **told_of(named, fields, f"{where}: ")},
        ))
    return requests


def _field(column: str, fields: Fields) -> str:
    return column if column in fields else column.removeprefix("cond.")


def told_of(values: Mapping[str, Any], fields: Fields, where: str = "") -> dict[str, Label]:
    """Labels as the model takes them. Names that no field has are left for the model to refuse."""
    labels: dict[str, Label] = {}
    for name, value in values.items():
        field = fields.get(name)
        if field is not None and is_text(field) and isinstance(value, str):
            labels[name] = value or None
            continue
        if value == "" or isinstance(value, bool | list):
            raise ConfigError(f"{where}{'' if where else 'cond.'}{name} is {_words(field)}, got {value!r}")
        labels[name] = value if field is None or not is_scalar(field) else _scalar(name, field, value, where)
    return labels


def _scalar(name: str, field: Any, value: Any, where: str) -> float:
    try:
        if math.isfinite(number := float(value)):
            return number
    except (TypeError, ValueError):
        pass
    raise ConfigError(f"{where}{'' if where else 'cond.'}{name} is {_words(field)}, got {value!r}")


def _words(field: Any) -> str:
    if field is not None and is_scalar(field):
        return f"a number between {field[0]:g} and {field[1]:g}"
    return "a text" if field is not None and is_text(field) else "the name of a class"


def _number(value: Any, taken: Any, key: str) -> Any:
    """A number of a cell, where those of CSV are texts."""
    found = value
    if isinstance(value, str):
        for made in (int, float):
            try:
                found = made(value)
                break
            except ValueError:
                pass
    try:
        kind.check(found, taken, key=key)
    except kind.KindError:
        raise ConfigError(f"{key} is {kind.words(taken)}, got {value!r}") from None
    return found
