"""Files beside those of the samples, of which maps are made: a depth film of each film, a stem of each mix.

    data.maps.depth=FOLDER      the file there of the same name below it, whatever its ending
    control.depth               a column of the table, a path below ``data.root`` or a whole one; in JSON the same as
                                {"control": {"depth": ...}}

A file is read as its sample is: the same crop, at the same time, turned the same way.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .checked import extents
from .reader import Reader
from .stream import Shape
from .tables import TableRow
from .walk import files_below

NESTED = "control"
COLUMN = f"{NESTED}."
"""How the name of a column begins that names such files, here and in tables of requests."""


class MapFolder:
    """The files of one map in a folder, found by the name of the sample's file below its own."""

    def __init__(self, name: str, folder: str | Path, reader: Reader, *, samples: Path):
        self.name, self.root = name, Path(folder).expanduser()
        if not self.root.is_dir():
            raise ValueError(f"data.maps.{name}={folder} is not a folder")
        if samples.resolve().is_relative_to(self.root.resolve()):
            raise ValueError(f"data.maps.{name}={folder} holds the samples themselves (data.root={samples}): name a "
                             "folder of their maps alone")
        self.files: dict[Path, Path] = {}
        for path in reader.samples(files_below(self.root, reader.suffixes, [], Counter())):
            below = stem(path, path.relative_to(self.root))
            if (other := self.files.setdefault(below, path)) != path:
                raise ValueError(f"data.maps.{name}: {other.name} and {path.name} in {path.parent} are both of the "
                                 f"sample {below}: leave one")

    def holds(self, path: Path) -> bool:
        """Whether a file lies in it, also where a link leads there, and so is no sample."""
        return (path.absolute().parent.resolve() / path.name).is_relative_to(self.root.resolve())

    def of(self, path: Path, below: str) -> Path | None:
        """The file of the sample at ``path``, which is named so below its own root."""
        return self.files.get(stem(path, Path(below)))


def stem(path: Path, below: Path) -> Path:
    """The name ``below`` of a file without its ending; a folder of frames has none, whatever dots are in its name."""
    return below if path.is_dir() else below.with_suffix("")


def from_table(row: TableRow, root: Path) -> dict[str, Path | None]:
    """The files of maps that a row names, taken out of it; None for an empty cell. Raises ``ValueError`` for a cell
    that is no path, and a map told twice."""
    found: dict[str, Path | None] = {}
    cells = flattened(row)
    row.clear()
    row.update({name: cell for name, cell in cells.items() if not name.startswith(COLUMN)})
    for column in [name for name in cells if name not in row]:
        if not isinstance(cell := cells[column], str | None):
            raise ValueError(f"{column} is the path of a file, got {cell!r}")
        found[column.removeprefix(COLUMN)] = root / cell if cell else None
    return found


def flattened(row: TableRow) -> TableRow:
    """A row in which an object of JSON in the column ``control`` is as many columns. Raises ``ValueError`` for a map
    that is told twice."""
    if not isinstance(told := row.get(NESTED), dict):
        return dict(row)
    inner = {f"{COLUMN}{name}": cell for name, cell in told.items()}
    if both := inner.keys() & row.keys():
        raise ValueError(f"{min(both)} is told twice, by a column and in the object {NESTED!r}: leave one")
    return {**{name: cell for name, cell in row.items() if name != NESTED}, **inner}


def unusable(reader: Reader, pairs: Sequence[tuple[Path, Path]], wanted: Sequence[Shape] | None) -> dict[int, str]:
    """Why files cannot be read beside their samples, by the number of a pair (sample, file). Where the extents of the
    samples are ``wanted``, each file is read once."""
    reasons: dict[int, str] = {}
    found = None if wanted is None else extents(reader, [file for _, file in pairs])
    for i, (path, file) in enumerate(pairs):
        extent = None if found is None else found[i]
        try:
            if isinstance(extent, str):
                reasons[i] = extent
            elif reason := reader.misfit(path, file):
                reasons[i] = f"{file} {reason}"
            elif wanted is not None and extent != wanted[i]:
                reasons[i] = f"{file} gives {extent}, and its sample {wanted[i]}"
        except (ValueError, OSError) as error:
            reasons[i] = str(error)
    return reasons
