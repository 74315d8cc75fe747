"""Formats that are a table: a header that names columns, then a row for each point.

    ply   "element vertex n", "property float x" ...;     pcd   FIELDS, SIZE, TYPE, COUNT, POINTS, DATA;
    xyz   numbers; names only if a comment states them, otherwise by what the columns hold

Rows are text or packed bytes. ply: Turk 1994; pcd: the Point Cloud Library's format 0.7.
"""

import os
import re
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

Columns = dict[str, np.ndarray]
"""``(n,)`` of every column, in the file's order and types."""

PLY_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}
PLY_ORDER = {"ascii": None, "binary_little_endian": "<", "binary_big_endian": ">"}
DECIMAL_COMMA = re.compile(r"\d,\d|(^|[\s;+-]),\d")
FRACTION = re.compile(r"(^|,)[+-]?0\d")
"""A whole number that begins with 0 is what stands behind a decimal mark."""
EMPTY_CELL = re.compile(r"(^|[,;])\s*[,;]")
LONGEST_HEADER = 1000
"""Lines; more are no header."""


def decoded(data: bytes) -> str:
    """Text whose numbers are ASCII and whose comments may be in any encoding.

    GB 18030 is tried before Latin-1, as its second byte may look like a backslash, which joins lines of an OBJ.
    """
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def ply_columns(path: Path) -> Columns | None:
    """The vertices of a file without faces; None if it has some, which is for a reader of meshes."""
    with path.open("rb") as file:
        header = _header(file, end="end_header")
        if not header or header[0] != ["ply"]:
            raise ValueError("it does not begin with 'ply'")
        elements: list[tuple[str, int, list[tuple[str, str]]]] = []
        order = "?"
        for word, *rest in header[1:]:
            if word == "format":
                order = rest[0]
            elif word == "element":
                elements.append((rest[0], int(rest[1]), []))
            elif word == "property":
                elements[-1][2].append((rest[-1], rest[0]))
        counts = {name: count for name, count, _ in elements}
        if counts.get("face") or counts.get("tristrips"):
            return None
        if order not in PLY_ORDER:
            raise ValueError(f"its format {order!r} is none of {', '.join(PLY_ORDER)}")
        for number, (name, count, properties) in enumerate(elements, 1):
            if count and any(kind not in PLY_TYPES for _, kind in properties):
                raise ValueError(f"the {name} element holds a list or an unknown type, which no point has")
            dtype = np.dtype([(column, (PLY_ORDER[order] or "<") + PLY_TYPES[kind]) for column, kind in properties
                              if kind in PLY_TYPES])
            rows = _rows(file, dtype, count, text=PLY_ORDER[order] is None, last=number == len(elements))
            if name == "vertex":
                return rows
    raise ValueError("it has no element vertex")


def pcd_columns(path: Path) -> Columns:
    """The points of a file; packed ``rgb`` becomes ``red green blue``. Compressed files are refused."""
    with path.open("rb") as file:
        header = {words[0].upper(): words[1:] for words in _header(file, end="DATA")}
        if missing := [key for key in ("FIELDS", "SIZE", "TYPE", "POINTS", "DATA") if key not in header]:
            raise ValueError(f"its header has no {' '.join(missing)}")
        form = header["DATA"][0]
        if form == "binary_compressed":
            raise ValueError("its data are compressed (LZF), which is not read: save it as binary or ascii")
        if form not in ("ascii", "binary"):
            raise ValueError(f"its data are {form!r}, not ascii or binary")
        fields = header["FIELDS"]
        counts = [int(n) for n in header.get("COUNT", ["1"] * len(fields))]
        columns = []
        for i, (field, size, kind, count) in enumerate(
            zip(fields, header["SIZE"], header["TYPE"], counts, strict=True)
        ):
            stem = f"_{i}" if field == "_" else field
            columns += [(f"{stem}_{k}" if count > 1 else stem, f"<{kind.lower()}{size}") for k in range(count)]
        rows = _rows(file, np.dtype(columns), int(header["POINTS"][0]), text=form == "ascii", last=True)
    rows = {name: column for name, column in rows.items() if not name.startswith("_")}
    for name in ("rgb", "rgba"):
        if name in rows:
            packed = np.ascontiguousarray(rows.pop(name)).view(np.uint32)
            for shift, color in ((16, "red"), (8, "green"), (0, "blue")):
                rows[color] = (packed >> shift & 255).astype(np.uint8)
    return rows


def xyz_columns(path: Path) -> Columns:
    """Numbers between blanks, or between commas or semicolons. A comment that begins with ``x y z`` names the columns.

    Commas that may as well be decimal ones are refused.
    """
    lines = [line.strip() for line in decoded(path.read_bytes()).split("\n")]
    comments = [line.lstrip("#/").lower() for line in lines if line.startswith(("#", "//"))]
    rows = [line for line in lines if line and not line.startswith(("#", "//"))]
    if any(_decimal_commas(row) for row in rows):
        raise ValueError(
            "its commas may be decimal (1,5) or between columns: write decimals with a point, and columns with blanks, "
            "or with commas alone"
        )
    if empty := next((row for row in rows if EMPTY_CELL.search(row)), None):
        raise ValueError(f"a cell of it is empty: {empty[:60]!r}")
    titles, cells = ([line.replace(",", " ").replace(";", " ").split() for line in some] for some in (comments, rows))
    if not cells:
        raise ValueError("it holds no points")
    if len(cells[0]) == 1 or cells[0][0].isalpha():
        raise ValueError(
            "it is a molecule (a count, a comment, then symbols with places): here xyz holds numbers alone, 3 or more "
            "a row; molecules are sets with types, experiment=points/molecules"
        )
    if len({len(row) for row in cells}) > 1:
        raise ValueError(f"its rows have between {min(map(len, cells))} and {max(map(len, cells))} columns")
    table = np.array(cells, dtype=np.float64)
    named = next((names for names in titles if names[:3] == ["x", "y", "z"] and len(names) == table.shape[1]), None)
    return dict(zip(named, table.T, strict=True)) if named else stated_columns(table)


def _decimal_commas(row: str) -> bool:
    if "," not in row:
        return False
    alone = ";" not in row and len(row.split()) == 1                  # commas are all that may be between columns
    return bool(FRACTION.search(row) if alone and "." not in row else not alone and DECIMAL_COMMA.search(row))


def stated_columns(table: np.ndarray) -> Columns:
    """Columns ``(n, 3 or more)`` without names: places, then triples that are normals if of length 1, else colours."""
    if table.ndim != 2 or table.shape[1] < 3:
        raise ValueError(f"points are rows of at least 3 numbers, got an array {table.shape}")
    names, free = ["x", "y", "z"], {"normals": ("nx", "ny", "nz"), "colors": ("red", "green", "blue")}
    while table.shape[1] - len(names) >= 3 and free:
        triple = table[:, len(names) : len(names) + 3]
        unit = np.abs(np.linalg.norm(triple, axis=1) - 1).max(initial=0) < 0.01
        kind = "normals" if unit else "colors"
        if kind not in free or (kind == "colors" and not 0 <= triple.min() <= triple.max() <= 255):
            break
        names += free.pop(kind)
    names += [f"f{i}" for i in range(table.shape[1] - len(names))]
    return dict(zip(names, table.T, strict=True))


def _header(file: BinaryIO, *, end: str) -> list[list[str]]:
    """Words of each line up to the one that begins with ``end``, comments left out."""
    lines = []
    for _ in range(LONGEST_HEADER):
        words = file.readline(10_000).decode("ascii", errors="replace").split()
        if words and words[0] not in ("comment", "obj_info") and not words[0].startswith("#"):
            lines.append(words)
        if words and words[0] == end:
            return lines
    raise ValueError(f"its header has no {end!r}")


def _rows(file: BinaryIO, dtype: np.dtype, count: int, *, text: bool, last: bool) -> Columns:
    """As many rows as the header tells: ``ValueError`` where there are fewer, or behind the ``last`` ones more."""
    if count < 0:
        raise ValueError(f"its header tells of {count} points")
    names = dtype.names or ()
    if text:
        lines = list(islice(file, count))                             # however many are told, no more than there are
        more = bool(file.readline().strip())
        if len(lines) < count:
            raise ValueError(f"it ends after {len(lines)} of {count} points")
        rows = [line.split()[: len(names)] for line in lines]
        table = np.array(rows, dtype=np.float64).reshape(count, -1 if count else len(names))
        if count and table.shape[1] != len(names):
            raise ValueError(f"its rows have {table.shape[1]} columns of {len(names)}")
        columns = {name: table[:, i].astype(dtype[name]) for i, name in enumerate(names)}
    else:
        there, size = os.fstat(file.fileno()).st_size - file.tell(), dtype.itemsize * count
        if there < size:
            raise ValueError(f"it ends after {there // max(dtype.itemsize, 1)} of {count} points")
        packed, more = np.frombuffer(file.read(size), dtype), 0 < dtype.itemsize <= there - size
        columns = {name: packed[name].astype(dtype[name].newbyteorder("=")) for name in names}
    if last and more:
        raise ValueError(f"it holds more points than the {count} that its header tells of")
    return columns
