"""A folder of files as a data set, for any modality: its adapter's reader opens them.

Labels come from a table (CSV or JSONL with a column ``file``), from a pattern (a regular expression with named groups,
matched against the file's name without its ending), or from the first sub-folder (field ``label``).
"""

import csv
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from .dataset import Dataset
from .labels import Fields, Label, suggest, told
from .reader import Reader
from .stream import Shape

Row = dict[str, Label]


class FolderDataset(Dataset):
    """Every readable file below ``root``.

    ``labels`` names the columns that condition the model (default: all), ``scalars`` those of them that are numbers.
    Every file is read once at the start: what cannot be used is skipped and named in ``report()``. ``check=False``
    trusts that all files can be used, and starts at once.
    Raises ``ValueError`` where nothing usable is found, saying what was looked for.
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
        self.labels, self.scalars = labels, tuple(scalars)
        self.skipped: list[tuple[str, str]] = []
        self.others: Counter[str] = Counter()                         # files that are no samples, by their ending
        self.rows = list(self._table(Path(table).expanduser()) if table else self._files(pattern))
        self.extents: list[Shape] = [None] * len(self.rows)
        if check:
            self._check()
        if not self.rows:
            reasons = "".join(f"\n  {name}: {reason}" for name, reason in self.skipped[:5])
            others = ", ".join(f"{count} {ending}" for ending, count in self.others.most_common(5) if count)
            raise ValueError(
                f"nothing usable in {self.root}: looked for {' '.join(reader.suffixes)} in all sub-folders, "
                f"{len(self.skipped)} file(s) were skipped{f'; other files there: {others}' if others else ''}{reasons}"
            )
        self.fields = self.fields_of(range(len(self.rows)))

    def _files(self, pattern: str | None) -> Iterator[tuple[Path, Row]]:
        expression = re.compile(pattern) if pattern else None
        for path in sorted(self.root.rglob("*")):
            if path.suffix.lower() not in self.reader.suffixes or not path.is_file():
                self.others[path.suffix.lower() or "no ending"] += path.is_file()
                continue
            below = path.relative_to(self.root)
            if expression is None:
                yield path, {"label": below.parts[0]} if len(below.parts) > 1 else {}
            elif match := expression.fullmatch(path.stem):
                yield path, match.groupdict()
            else:
                self.skipped.append((str(below), f"its name does not match data.pattern={pattern!r}"))

    def _table(self, table: Path) -> Iterator[tuple[Path, Row]]:
        for number, row in enumerate(read_table(table), 1):
            if not row.get("file"):
                raise ValueError(f"{table}, row {number}: no value in the column 'file'")
            yield self.root / str(row["file"]), {k: v for k, v in row.items() if k != "file"}

    def _check(self) -> None:
        def extent(row: tuple[Path, Row]) -> Shape | str:
            try:
                return tuple(self.reader.read(row[0]).shape[1:])
            except (ValueError, OSError) as error:
                return str(error)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = list(tqdm(pool.map(extent, self.rows), "checking files", len(self.rows), unit="file", leave=False))
        self.skipped += [(self.name(i), reason) for i, reason in enumerate(found) if isinstance(reason, str)]
        self.rows = [row for row, extent in zip(self.rows, found, strict=True) if not isinstance(extent, str)]
        self.extents = [extent for extent in found if not isinstance(extent, str)]

    def fields_of(self, indices: Sequence[int]) -> Fields:
        rows = [self.rows[i][1] for i in indices]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        for name in [*(self.labels or ()), *self.scalars]:
            if name not in columns:
                raise ValueError(f"no column {name!r} in the labels of {self.root}; {suggest(name, columns)}")
        fields = {}
        for name in columns if self.labels is None else self.labels:
            values = [row[name] for row in rows if row.get(name) not in (None, "")]
            if name in self.scalars:
                numbers = [float(v) for v in values]
                fields[name] = (min(numbers), max(numbers))
            else:
                fields[name] = sorted({str(v) for v in values})
        return fields

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        path, row = self.rows[index]
        return self.reader.read(path, rng), told(row, self.fields)

    def name(self, index: int) -> str:
        return str(self.rows[index][0].relative_to(self.root))

    def shape(self, index: int) -> Shape:
        return self.reader.shape(self.rows[index][0])

    def extent(self, index: int) -> Shape:
        return self.extents[index]

    def column(self, index: int) -> dict[str, Label]:
        return self.rows[index][1]

    def digest(self, index: int) -> str:
        digests = []
        for path in self.reader.files(self.rows[index][0]):
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        return " ".join(digests)

    def report(self) -> dict:
        return {"root": str(self.root), "kept": len(self), "skipped": [list(pair) for pair in self.skipped]}


def read_table(path: str | Path) -> list[Row]:
    """Rows of a CSV (with a header) or JSONL file; empty CSV cells are None."""
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            return [{k: v or None for k, v in row.items()} for row in csv.DictReader(text.splitlines())]
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except OSError as error:
        raise ValueError(f"cannot read the table {path}: {error.strerror}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is neither CSV nor JSONL: {error}") from None
