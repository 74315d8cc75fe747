"""Tables as people have them: CSV, TSV or semicolons with a header, or a JSON object a line.

    text    by its byte order mark (UTF-8, UTF-16), else UTF-8, else Windows-1252 with a warning
    cells   between commas, semicolons or tabs, whichever the header has most of; an empty one is None
"""

import codecs
import csv
import io
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TableRow = dict[str, Any]
"""Labels by column; lists and objects where a line of JSON has such."""
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
SEPARATORS = ",;\t"


def read_table(path: str | Path) -> list[TableRow]:
    """Rows by column. Raises ``ValueError`` naming file, row and remedy for what is no table."""
    path = Path(path).expanduser()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read the table {path}: {error.strerror}") from None
    if data.startswith(b"PK\x03\x04") or data.startswith(b"\xd0\xcf\x11\xe0"):
        raise ValueError(f"{path} is a spreadsheet: save it as CSV (UTF-8)")
    try:
        text = _text(path, data)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is neither CSV nor JSONL: {error}") from None
    return list(_objects(path, text) if text.lstrip()[:1] in ("{", "[") else _cells(path, text))


def _text(path: Path, data: bytes) -> str:
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise
        text = data.decode("cp1252")
        warnings.warn(f"{path} is not UTF-8 and read as Windows-1252: save it as UTF-8 if letters look wrong",
                      stacklevel=3)
    if "\0" in text:
        raise ValueError(f"{path} is neither CSV nor JSONL: it holds zero bytes. Save it as CSV (UTF-8)")
    return text


def _objects(path: Path, text: str) -> Iterator[TableRow]:
    for number, line in enumerate(text.split("\n"), 1):               # other line ends may be inside of a text
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is neither CSV nor JSONL: line {number}, {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: each line is an object of columns and values, got {line[:40]!r}")
        yield row


def _cells(path: Path, text: str) -> Iterator[TableRow]:
    rows = _split(path, text)
    header = [name.strip() for name in next(rows, (1, []))[1]]
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise ValueError(f"{path} has the column {twice[0]!r} more than once")
    names = [name or f"column {i}" for i, name in enumerate(header, 1)]
    for line, cells in rows:
        if len(cells) > len(names):
            raise ValueError(
                f"{path}, line {line}: {len(cells)} cells for {len(names)} columns; a cell that holds a "
                "separator, such as a decimal comma, stands in double quotes"
            )
        yield {name: cell or None for name, cell in zip(names, cells + [""] * (len(names) - len(cells)), strict=True)}


def _split(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of the rows that hold anything."""
    first = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(SEPARATORS, key=first.count), strict=True)
    try:
        yield from ((rows.line_num, cells) for cells in rows if any(cells))
    except csv.Error as error:
        raise ValueError(f"{path} is neither CSV nor JSONL: line {rows.line_num}, {error}") from None
