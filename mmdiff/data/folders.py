"""A folder of files as a data set, for any modality: its adapter's reader opens them.

Labels come from a table (see ``tables``: a column ``file``), from a pattern (a regular expression with named groups,
matched against the file's name without its ending), or from the first sub-folder (field ``label``); captions also from
a text file beside each file (field ``caption``).
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

from .captions import ENDING, beside
from .captions import captions as read_captions
from .checked import extents
from .dataset import Dataset
from .labels import TEXT, Field, Fields, Label, conditioning, field_of, number, suggest, text
from .reader import Reader
from .stream import Shape
from .tables import TableRow, read_table
from .walk import files_below, utf8

CAPTION = "caption"
"""The column of captions that are beside the files."""
FEW = 10
"""Samples, of which a column may name each: in larger sets one that does is a name of files rather than a class."""


class FolderDataset(Dataset):
    """Every readable file below ``root``, symbolic links followed, hidden files and folders left out.

    ``labels`` names the columns that condition the model, ``scalars`` those that are numbers, ``texts`` those that are
    any text; with ``captions`` the file NAME.txt beside each file is its column ``caption``. ``attributes`` are classes
    that captions tell: they condition nothing, and ``mmdiff eval`` judges by them. By default all others condition
    but those that are empty or nearly name each file, such as an ``id``: ``report()`` tells them. Every file is read
    once before the first run: what cannot be used is skipped and named in ``report()``. ``check=False`` trusts that all
    files can be used. Raises ``ValueError`` where nothing usable is found, saying what was looked for.
    """

    def __init__(
        self, reader: Reader, root: str | Path, *, pattern: str | None = None, table: str | Path | None = None,
        labels: Sequence[str] | None = None, scalars: Sequence[str] = (), texts: Sequence[str] = (),
        captions: bool = False, attributes: Sequence[str] = (), check: bool = True,
    ):
        self.reader, self.root = reader, Path(root).expanduser()
        if not self.root.is_dir():
            raise ValueError(f"data.root={self.root} is not a folder")
        if pattern and table:
            raise ValueError("give data.pattern or data.table, not both")
        self.scalars = tuple(scalars)
        self.texts = tuple(dict.fromkeys([*texts, *([CAPTION] if captions else [])]))
        if both := set(self.scalars) & set(self.texts):
            raise ValueError(f"{min(both)} is in data.scalars and in data.texts: it is one of them")
        self.skipped: list[tuple[str, str]] = []
        self.others: Counter[str] = Counter()                         # files that are no samples, by their ending
        self.rows = list(self._table(Path(table).expanduser()) if table else self._files(pattern))
        if captions:
            self._read_captions()
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
        self.attributes = list(attributes)
        usual = [name for name in columns if name not in self.unused and name not in self.attributes]
        self.labels = usual if labels is None else list(labels)
        self.labels = list(dict.fromkeys([*self.labels, *self.scalars, *self.texts]))
        for name in (*self.labels, *self.attributes):
            if name not in columns:
                raise ValueError(f"no column {name!r} in the labels of {self.root}; {suggest(name, columns)}")
        self.fields = self.fields_of(range(len(self.rows)))
        self.unread = 0 if captions else self._unread_captions()

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
            if isinstance(cell, list) and name not in self.texts:
                raise ValueError(f"{place}: {name} is a list of texts, as captions are: data.texts=[{name}]")
            try:
                nothing = cell is None or cell == "" or cell != cell
                if name in self.texts:
                    row[name] = read_captions(cell) or None
                else:
                    row[name] = number(cell) if name in self.scalars else None if nothing else text(cell)
            except ValueError as error:
                if name in self.texts:
                    raise ValueError(f"{place}: {name}: {error}") from None
                raise ValueError(
                    f"{place}: {name} is {cell!r}, which is no number (decimals have a point): correct it, leave it "
                    f"empty for not told, or leave {name} out of data.scalars"
                ) from None
        return row

    def _read_captions(self) -> None:
        for path, row in self.rows:
            row[CAPTION] = beside(path) or None
        if not any(row[CAPTION] for _, row in self.rows):
            wanted = self.rows[0][0].with_suffix(ENDING).name if self.rows else f"NAME{ENDING}"
            raise ValueError(f"data.captions=true: none of {len(self.rows)} files in {self.root} has its caption "
                             f"beside it, such as {wanted}")
        there = {path.with_suffix(ENDING) for path, _ in self.rows}
        for file in files_below(self.root, (ENDING,), [], Counter()):
            if file not in there:
                self.skipped.append((str(file.relative_to(self.root)), "it is a caption without its file"))

    def _unread_captions(self) -> int:
        """How many files have a text file beside them that is not read; told where nothing else is a text."""
        if self.texts or not self.others[ENDING] or ENDING in self.reader.suffixes:
            return 0
        count = sum(path.with_suffix(ENDING).is_file() for path, _ in self.rows)
        if count:
            warnings.warn(f"{count} of {len(self.rows)} files in {self.root} have a text beside them, which is not "
                          "read: data.captions=true takes it as their caption", stacklevel=4)
        return count

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
            if not values and name not in (*self.scalars, *self.texts):
                unused[name] = "it is empty, so it conditions nothing"
            if name not in (*self.scalars, *self.texts) and len(values) >= FEW and len(set(values)) > len(values) / 2:
                unused[name] = (
                    f"{len(set(values))} values in {len(values)} files are no classes, so it conditions nothing; "
                    f"data.labels names what does, data.scalars=[{name}] takes it as a number, data.texts=[{name}] as "
                    "captions"
                )
                warnings.warn(f"column {name!r} of {self.root}: {unused[name]}", stacklevel=4)
        return unused

    def known(self) -> Fields:
        classes = {name: field_of((row.get(name) for _, row in self.rows), scalar=False) for name in self.attributes}
        return {**super().known(), **classes}

    def fields_of(self, indices: Sequence[int]) -> Fields:
        fields: dict[str, Field] = {}
        for name in self.labels:
            if name in self.texts:
                if all(self.rows[i][1].get(name) is None for i in indices):
                    raise ValueError(f"no sample of {self.root} tells {name}; leave it out of data.texts")
                fields[name] = TEXT
                continue
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
        return self.reader.read(self.rows[index][0], rng), conditioning(self.column(index), self.fields)

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
        return {name: cell[0] if isinstance(cell, list) else cell for name, cell in self.rows[index][1].items()}

    def captions(self, index: int) -> dict[str, list[str]]:
        row = self.rows[index][1]
        return {name: row[name] for name in self.texts if row.get(name)}

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
            **({"unread_captions": self.unread} if self.unread else {}),
        }
