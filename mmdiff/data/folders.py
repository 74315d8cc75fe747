"""A folder of files as a data set, for any modality: its adapter's reader opens them.

What is known of a file comes from its folders, from its name and from a table together, see ``columns``; captions also
from a text file beside it (field ``caption``).
"""

import contextlib
import copy
import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from .beside import CAPTION, read_captions, with_captions
from .captions import ENDING
from .checked import extents
from .columns import Named, from_folders, from_names, merged, nested, no_classes, row_of
from .dataset import Dataset
from .labels import TEXT, Field, Fields, Label, conditioning, field_of, is_scalar, is_text, suggest
from .maps import MapFolder, from_table, unusable
from .reader import Reader
from .stream import Shape
from .tables import TableRow, read_table
from .walk import files_below, utf8


class FoundFile(NamedTuple):
    """A sample, what is known of it, and the files beside it of which maps are made."""

    path: Path
    cells: TableRow
    maps: dict[str, Path]


class FolderDataset(Dataset):
    """Every readable file below ``root``, symbolic links followed, hidden files and folders left out.

    ``folders`` names the levels of sub-folders, ``pattern`` the parts of file names (a regular expression with named
    groups, matched against the whole name without its ending), ``table`` the files themselves and their columns.
    ``labels`` names the columns that condition the model, ``scalars`` those that are numbers, ``texts`` those that are
    any text; with ``captions`` the file NAME.txt beside each file is its column ``caption``. ``maps`` names folders
    with a file for each sample, of which its map of that name is made, see ``data.maps``. ``attributes`` are classes
    that captions tell: they condition nothing, and ``mmdiff eval`` judges by them. By default all others condition
    but those that are empty, name parts of the data (train, test) or nearly each file, such as an ``id``: ``report()``
    tells them. Columns of ``fields``, what a model that goes on can be told, are what they are to it.
    Every file is read once before the first run: what cannot be used is skipped and named in ``report()``.
    ``check=False`` trusts that all files can be used. ``consent`` says what those who are seen or heard have agreed to;
    the model file has it. Raises ``ValueError`` where nothing usable is found, saying what was looked for.
    """

    def __init__(
        self, reader: Reader, root: str | Path, *, folders: Sequence[str] | None = None, pattern: str | None = None,
        table: str | Path | None = None, labels: Sequence[str] | None = None, scalars: Sequence[str] = (),
        texts: Sequence[str] = (), captions: bool = False, maps: Mapping[str, str | Path] | None = None,
        attributes: Sequence[str] = (), check: bool = True, consent: str | None = None, fields: Fields | None = None,
    ):
        self.reader, self.root, self.consent = reader, Path(root).expanduser(), consent
        if not self.root.is_dir():
            raise ValueError(f"data.root={self.root} is not a folder")
        learned = {name: field for name, field in (fields or {}).items()
                   if name not in (*scalars, *texts) and (labels is None or name in labels)}
        self.scalars = tuple(scalars) + tuple(name for name, field in learned.items() if is_scalar(field))
        texts_known = [name for name, field in learned.items() if is_text(field)]
        self.texts = tuple(dict.fromkeys([*texts, *texts_known, *([CAPTION] if captions else [])]))
        if both := set(self.scalars) & set(self.texts):
            raise ValueError(f"{min(both)} is in data.scalars and in data.texts: it is one of them")
        self.skipped: list[tuple[str, str]] = []
        self.others: Counter[str] = Counter()                         # files that are no samples, by their ending
        self.parts: dict[int, Reader] = {}                            # rows of which a part is read, by their number
        self.nested: set[str] = set()                                 # columns that hold several values a cell
        self.asked = (*(labels or ()), *attributes)
        beside = [MapFolder(name, folder, reader, samples=self.root) for name, folder in (maps or {}).items()]
        self.maps = tuple(maps or {})
        self.rows = self._rows(folders, pattern, Path(table).expanduser() if table else None, beside)
        self.without: dict[str, list[tuple[str, str]]] = {}          # by map: samples that have none, and why
        self.inferred = self.reader.infer([row.path for row in self.rows])
        if captions and self.rows:
            read_captions(self.root, [(row.path, row.cells) for row in self.rows], reader.suffixes, self.skipped)
        self.extents: list[Shape] = [None] * len(self.rows)
        self.trusted = not check
        if check:
            self._check()
        for name in self.maps:
            self._check_maps(name, read=check)
        if not self.rows:
            reasons = "".join(f"\n  {name}: {reason}" for name, reason in self.skipped[:5])
            others = ", ".join(f"{count} {ending}" for ending, count in self.others.most_common(5))
            raise ValueError(
                f"nothing usable in {self.root}: looked for {' '.join(reader.suffixes)} in all sub-folders, "
                f"{len(self.skipped)} file(s) were skipped{f'; other files there: {others}' if others else ''}{reasons}"
            )
        columns = self._columns()
        self.scalars, self.texts = (tuple(name for name in names if name in columns or name not in learned)
                                    for names in (self.scalars, self.texts))
        self.unused = {} if labels is not None else no_classes(
            [row.cells for row in self.rows], [name for name in columns if name not in learned], self.scalars,
            self.texts, f"{self.root}", self.nested,
        )
        self.attributes = list(attributes)
        usual = [name for name in columns if name not in self.unused and name not in self.attributes]
        self.labels = usual if labels is None else list(labels)
        self.labels = list(dict.fromkeys([*self.labels, *self.scalars, *self.texts]))
        for name in (*self.labels, *self.attributes):
            if name not in columns:
                raise ValueError(f"no column {name!r} in the labels of {self.root}; {suggest(name, columns)}")
        self.fields = self.fields_of(range(len(self.rows)))
        self.unread = 0 if captions else self._unread_captions()

    def _rows(
        self, folders: Sequence[str] | None, pattern: str | None, table: Path | None, beside: Sequence[MapFolder]
    ) -> list[FoundFile]:
        """The samples with all that is known of each."""
        listed = dict(self._table(table)) if table else {}
        paths = [row.path for row in listed.values()] if table else [
            path for path in self.reader.samples(
                files_below(self.root, self.reader.suffixes, self.skipped, self.others)
            ) if not any(folder.holds(path) for folder in beside)
        ]
        relative = list(listed) if table else [self._below(path) for path in paths]
        sources: list[Named] = [from_folders(list(map(self._below, paths)), folders, alone=not (pattern or table))]
        if pattern:
            sources.append(from_names(paths, pattern))
        if table:
            sources.append(Named(table.name, [row.cells for row in listed.values()]))
        rows = []
        for i, (path, name) in enumerate(zip(paths, relative, strict=True)):
            found = {source.title: row for source in sources if (row := source.rows[i]) is not None}
            if len(found) < len(sources):
                self.skipped.append((self._below(path), f"its name does not match data.pattern={pattern!r}"))
                continue
            self.nested |= {key for row in found.values() for key, cell in row.items() if nested(cell)} - {*self.texts}
            cells = {title: row_of(name, row, self.scalars, self.texts, self.asked) for title, row in found.items()}
            files = {folder.name: file for folder in beside if (file := folder.of(path, self._below(path))) is not None}
            rows.append(FoundFile(path, merged(name, cells), {**files, **(listed[name].maps if listed else {})}))
        return rows

    def _table(self, table: Path) -> Iterator[tuple[str, FoundFile]]:
        for count, row in enumerate(read_table(table), 1):
            if "file" not in row:
                raise ValueError(f"{table}, row {count}: no column 'file'; {suggest('file', list(row))}")
            file = "" if row["file"] is None else str(row.pop("file"))
            if not file or not utf8(file):
                raise ValueError(f"{table}, row {count}: the name in the column 'file' is empty or not UTF-8")
            maps = from_table(row, self.root)
            self.maps = tuple(dict.fromkeys([*self.maps, *maps]))     # also one of which every cell is empty
            there = {name: path for name, path in maps.items() if path is not None}
            yield f"{table}, row {count} ({file})", FoundFile(self.root / file, row, there)

    def _below(self, path: Path) -> str:
        """The path below the root, or the whole one of what a table names elsewhere."""
        try:
            return str(path.absolute().relative_to(self.root.absolute()))
        except ValueError:
            return str(path)

    def _unread_captions(self) -> int:
        """How many files have a text file beside them that is not read; told where nothing else is a text."""
        if self.texts or not self.others[ENDING] or ENDING in self.reader.suffixes:
            return 0
        count = with_captions(row.path for row in self.rows)
        if count:
            warnings.warn(f"{count} of {len(self.rows)} files in {self.root} have a text beside them, which is not "
                          "read: data.captions=true takes it as their caption", stacklevel=4)
        return count

    def _check(self) -> None:
        found = extents(self.reader, [row.path for row in self.rows])
        self.skipped += [(self.name(i), reason) for i, reason in enumerate(found) if isinstance(reason, str)]
        self.rows = [row for row, extent in zip(self.rows, found, strict=True) if not isinstance(extent, str)]
        self.extents = [extent for extent in found if not isinstance(extent, str)]

    def _check_maps(self, name: str, *, read: bool) -> None:
        """A file that does not go with its sample is left out; which samples have none is told."""
        those = [i for i, row in enumerate(self.rows) if name in row.maps]
        pairs = [(self.rows[i].path, self.rows[i].maps[name]) for i in those]
        wanted = [self.extents[i] for i in those] if read else None
        for number, reason in unusable(self.reader, pairs, wanted).items():
            del self.rows[those[number]].maps[name]
            self.without.setdefault(name, []).append((self.name(those[number]), reason))
        missing = [self.name(i) for i in sorted(set(range(len(self.rows))) - set(those))]
        self.without.setdefault(name, []).extend((sample, "there is no such file") for sample in missing)
        if not (without := self.without[name]):
            return
        first = f"{without[0][0]}: {without[0][1]}"
        if len(without) == len(self.rows):
            raise ValueError(f"no sample in {self.root} has its file of the map {name} (data.maps.{name}); {first}")
        warnings.warn(f"{len(without)} of {len(self.rows)} samples in {self.root} are told no map {name}; {first}",
                      stacklevel=4)

    def _columns(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row.cells))

    def known(self) -> Fields:
        classes = {name: field_of((row.cells.get(name) for row in self.rows), scalar=False) for name in self.attributes}
        return {**super().known(), **classes}

    def fields_of(self, indices: Sequence[int]) -> Fields:
        fields: dict[str, Field] = {}
        for name in self.labels:
            if name in self.texts:
                if all(self.rows[i].cells.get(name) is None for i in indices):
                    raise ValueError(f"no sample of {self.root} tells {name}; leave it out of data.texts")
                fields[name] = TEXT
                continue
            try:
                fields[name] = field_of((self.rows[i].cells.get(name) for i in indices), scalar=name in self.scalars)
            except ValueError as error:
                raise ValueError(
                    f"{name} of {self.root}: {error}; leave it out of data.labels and data.scalars"
                ) from None
        return fields

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        with self._told():
            return self._reader(index).read(self.rows[index].path, rng), conditioning(self.column(index), self.fields)

    def beside(
        self, index: int, rng: np.random.Generator | None = None, names: Sequence[str] | None = None
    ) -> dict[str, Tensor | None]:
        path, _, maps = self.rows[index]
        reader = self._reader(index)
        return {name: reader.beside(path, maps[name], copy.deepcopy(rng)) if name in maps else None
                for name in self.maps if names is None or name in names}

    def mapped(self, index: int) -> list[str]:
        return list(self.rows[index].maps)

    def name(self, index: int) -> str:
        name = self._below(self.rows[index].path)
        return f"{name} [{':'.join(f'{share:g}' for share in self.parts[index].part)}]" if index in self.parts else name

    def shape(self, index: int) -> Shape:
        with self._told():
            return self._reader(index).shape(self.rows[index].path)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """A file that was trusted and cannot be read is told with the remedy."""
        try:
            yield
        except (ValueError, OSError) as error:
            if self.trusted:
                error.add_note("data.check=false trusts all files: without it each is read once, and what cannot be "
                               "used is left out and named in data.json")
            raise

    def _reader(self, index: int) -> Reader:
        return self.parts.get(index, self.reader)

    def cut(self, fraction: float) -> tuple[Dataset, Dataset]:
        """Files too short for a sample in each part are whole in the first, and told. What is held out of a file is as
        many samples as it holds one after another."""
        paths = [row.path for row in self.rows]
        readers = self.reader.within(0, fraction), self.reader.within(fraction, 1)
        found = list(zip(*(extents(reader, paths) for reader in readers), strict=True))
        long = [i for i, pair in enumerate(found) if not any(isinstance(extent, str) for extent in pair)]
        if not long:
            reason = next(extent for extent in found[0][::-1] if isinstance(extent, str))
            with self._told():
                raise ValueError(f"loader.by_time: no file is long enough to hold out its last part: {reason}")
        if len(long) < len(paths):
            warnings.warn(f"{len(paths) - len(long)} of {len(paths)} files are too short to hold out their last part: "
                          "they are trained on as wholes", stacklevel=4)
        rest, held_out = copy.copy(self), copy.copy(self)
        rest.parts, held_out.parts = dict.fromkeys(long, readers[0]), dict.fromkeys(long, readers[1])
        rest.extents = [found[i][0] if i in rest.parts else extent for i, extent in enumerate(self.extents)]
        held_out.extents = [found[i][1] if i in held_out.parts else extent for i, extent in enumerate(self.extents)]
        return rest, held_out.laid_out(long)                          # a long film is judged by more than one clip

    def laid_out(self, indices: Sequence[int]) -> Dataset:
        out = copy.copy(self)
        out.parts, out.rows, out.extents = {}, [], []
        for i in indices:
            reader = self._reader(i)
            count = max(1, reader.clips(self.rows[i].path))
            start, stop = reader.part
            ends = [start + (stop - start) * k / count for k in range(count + 1)]
            for part in pairwise(ends):
                if count > 1 or i in self.parts:
                    out.parts[len(out.rows)] = self.reader.within(*part)
                out.rows.append(self.rows[i])
                out.extents.append(self.extents[i])
        return out

    def extent(self, index: int) -> Shape:
        return self.extents[index]

    def column(self, index: int) -> dict[str, Label]:
        return {name: cell[0] if isinstance(cell, list) else cell for name, cell in self.rows[index].cells.items()}

    def captions(self, index: int) -> dict[str, list[str]]:
        row = self.rows[index].cells
        return {name: row[name] for name in self.texts if row.get(name)}

    def digest(self, index: int) -> str:
        first, _, maps = self.rows[index]
        digests = [hashlib.sha256(os.fsencode(first.name)).hexdigest()] if self.reader.by_name else []
        for path in [file for sample in (first, *maps.values()) for file in self.reader.files(sample)]:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        return " ".join(digests)

    def report(self) -> dict:
        return {
            "root": str(self.root), "kept": len(self), "skipped": [list(pair) for pair in self.skipped],
            "other_files": dict(self.others.most_common()), "unused_columns": self.unused,
            **({"without_maps": self.without} if any(self.without.values()) else {}),
            **({"unread_captions": self.unread} if self.unread else {}),
            **({"consent": self.consent} if self.consent else {}),
        }
