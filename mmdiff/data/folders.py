"""A folder of files as a data set, for any modality: its adapter's reader opens them.

Labels come from a table (see ``tables``: a column ``file``), from a pattern (a regular expression with named groups,
matched against the file's name without its ending), or from the first sub-folder (field ``label``).
"""

import hashlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from .checked import extents
from .dataset import Dataset
from .labels import Fields, Label, conditioning, field_of, number, suggest, text
from .reader import Reader
from .stream import Shape
from .tables import TableRow, read_table
from .walk import files_below, utf8

FEW = 10
"""Samples, of which a column may name each: in larger sets one that does is a name of files rather than a class."""


class FolderDataset(Dataset):
    """Every readable file below ``root``, symbolic links followed, hidden files and folders left out.

    ``labels`` names the columns that condition the model, ``scalars`` those that are numbers. By default all condition
    but those that are empty or nearly name each file, such as an ``id``: ``report()`` tells them. Every file is read
    once before the first run: what cannot be used is skipped and named in ``report()``. ``check=False`` trusts that all
    files can be used. Raises ``ValueError`` where nothing usable is found, saying what was looked for.
    """

    def __init__(
        self, reader: Reader, root: str | Path, *, pattern: str | None = None, table: str | Path | None = None,
        labels: Sequence[str] | None = None, scalars: Sequence[str] = (), check: bool = True,
    ):
        self.reader, self.root = reader, Path(root).expanduser()
        if not self.root.is_dir():
            raise ValueError(f"data.root={self.root} is not a folder")
        if pattern and table:
            raise ValueError("give data.pattern or data.table, not both")
        self.scalars = tuple(scalars)
        self.skipped: list[tuple[str, str]] = []
        self.others: Counter[str] = Counter()                         # files that are no samples, by their ending
        self.rows = list(self._table(Path(table).expanduser()) if table else self._files(pattern))
        self.extents: list[Shape] = [None] * len(self.rows)
        if check:
            self._check()
        if not self.rows:
            reasons = "".join(f"\n  {name}: {reason}" for name, reason in self.skipped[:5])
            others = ", ".join(f"{count} {ending}" for ending, count in self.others.most_common(5))
            raise ValueError(
                f"nothing usable in {self.root}: looked for {' '.join(reader.suffixes)} in all sub-folders, "
                f"{len(self.skipped)} file(s) were skipped{f'; other files there: {others}' if others else ''}{reasons}"
            )
        self.unused = {} if labels is not None else self._no_classes()
        columns = self._columns()
        self.labels = [name for name in columns if name not in self.unused] if labels is None else list(labels)
        self.labels = list(dict.fromkeys([*self.labels, *self.scalars]))
        for name in self.labels:
            if name not in columns:
                raise ValueError(f"no column {name!r} in the labels of {self.root}; {suggest(name, columns)}")
        self.fields = self.fields_of(range(len(self.rows)))

    def _files(self, pattern: str | None) -> Iterator[tuple[Path, TableRow]]:
        try:
            expression = re.compile(pattern) if pattern else None
        except re.error as error:
            raise ValueError(f"data.pattern={pattern!r} is no regular expression: {error}") from None
        for path in files_below(self.root, self.reader.suffixes, self.skipped, self.others):
            below = path.relative_to(self.root)
            if expression is None:
                yield path, {"label": text(below.parts[0])} if len(below.parts) > 1 else {}
            elif match := expression.fullmatch(path.stem):
                yield path, self._row(str(below), match.groupdict())
            else:
                self.skipped.append((str(below), f"its name does not match data.pattern={pattern!r}"))

    def _table(self, table: Path) -> Iterator[tuple[Path, TableRow]]:
        for count, row in enumerate(read_table(table), 1):
            if "file" not in row:
                raise ValueError(f"{table}, row {count}: no column 'file'; {suggest('file', list(row))}")
            file = "" if row["file"] is None else str(row.pop("file"))
            if not file or not utf8(file):
                raise ValueError(f"{table}, row {count}: the name in the column 'file' is empty or not UTF-8")
            yield self.root / file, self._row(f"{table}, row {count} ({file})", row)

    def _row(self, place: str, cells: TableRow) -> TableRow:
        """Cells as they condition: names, numbers, or None for what is not told."""
        row: TableRow = {}
        for name, cell in cells.items():
            try:
                nothing = cell is None or cell == "" or cell != cell
                row[name] = number(cell) if name in self.scalars else None if nothing else text(cell)
            except ValueError:
                raise ValueError(
                    f"{place}: {name} is {cell!r}, which is no number (decimals have a point): correct it, leave it "
                    f"empty for not told, or leave {name} out of data.scalars"
                ) from None
        return row

    def _check(self) -> None:
        found = extents(self.reader, [path for path, _ in self.rows])
        self.skipped += [(self.name(i), reason) for i, reason in enumerate(found) if isinstance(reason, str)]
        self.rows = [row for row, extent in zip(self.rows, found, strict=True) if not isinstance(extent, str)]
        self.extents = [extent for extent in found if not isinstance(extent, str)]

    def _columns(self) -> list[str]:
        return list(dict.fromkeys(name for _, row in self.rows for name in row))

    def _no_classes(self) -> dict[str, str]:
        """The columns that are empty or nearly name each file, with what to do about them."""
        unused = {}
        for name in self._columns():
            values = [value for _, row in self.rows if (value := row.get(name)) is not None]
            if not values and name not in self.scalars:
                unused[name] = "it is empty, so it conditions nothing"
            if name not in self.scalars and len(values) >= FEW and len(set(values)) > len(values) / 2:
                unused[name] = (
                    f"{len(set(values))} values in {len(values)} files are no classes, so it conditions nothing; "
                    f"data.labels names what does, data.scalars=[{name}] takes it as a number"
                )
                warnings.warn(f"column {name!r} of {self.root}: {unused[name]}", stacklevel=4)
        return unused

    def fields_of(self, indices: Sequence[int]) -> Fields:
        fields = {}
        for name in self.labels:
            try:
                fields[name] = field_of((self.rows[i][1].get(name) for i in indices), scalar=name in self.scalars)
            except ValueError as error:
                raise ValueError(
                    f"{name} of {self.root}: {error}; leave it out of data.labels and data.scalars"
                ) from None
        return fields

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        path, row = self.rows[index]
        return self.reader.read(path, rng), conditioning(row, self.fields)

    def name(self, index: int) -> str:
        path = self.rows[index][0]
        try:
            return str(path.absolute().relative_to(self.root.absolute()))
        except ValueError:                                            # a table may name files elsewhere
            return str(path)

    def shape(self, index: int) -> Shape:
        return self.reader.shape(self.rows[index][0])

    def extent(self, index: int) -> Shape:
        return self.extents[index]

    def column(self, index: int) -> dict[str, Label]:
        return self.rows[index][1]

    def digest(self, index: int) -> str:
        first = self.rows[index][0]
        digests = [hashlib.sha256(os.fsencode(first.name)).hexdigest()] if self.reader.by_name else []
        for path in self.reader.files(first):
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        return " ".join(digests)

    def report(self) -> dict:
        return {
            "root": str(self.root), "kept": len(self), "skipped": [list(pair) for pair in self.skipped],
            "other_files": dict(self.others.most_common()), "unused_columns": self.unused,
        }
