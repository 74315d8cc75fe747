"""Many clouds in one file as a data set.

    clouds.npz    points (n, N, 3), floats, or whole numbers of which the largest of their type is 1;
                  optionally normals (n, N, 3), colors (n, N, 3) in [-1, 1] or uint8; label (n,) with classes (k,),
                  -1 = not told; test (n,) bool; any other (n,) array is a column
    *index.json   optionally beside it: a list of n records, whose numbers and texts are columns too

``label`` becomes the column ``class``, ``test`` the column ``split`` (train or test); ``id`` names a cloud.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from torch import Tensor

from ...data.dataset import Dataset
from ...data.labels import Label, conditioning, field_of, suggest
from .files import Geometry
from .reader import PointReader


class CloudArrays(Dataset):
    """The clouds of ``root``: an npz file, or a folder that holds one.

    ``labels`` names the columns that condition the model, ``scalars`` those of them that are numbers; ``only`` keeps
    the clouds whose columns have those values, such as ``{split: [train]}`` or ``{cls: [chair, table]}``. Clouds with
    NaN are skipped and named in ``report()``, as are arrays of other shapes. The reader says how many points a read
    draws, and augments.
    """

    def __init__(
        self, reader: PointReader, root: str | Path, *, labels: Sequence[str] = ("class",),
        scalars: Sequence[str] = (), only: Mapping[str, Sequence[Label]] | None = None,
    ):
        self.reader, self.path = reader, _found(Path(root).expanduser())
        arrays = _opened(self.path)
        self.points = arrays.pop("points", np.empty(0))
        if self.points.ndim != 3 or self.points.shape[2] != 3:
            raise ValueError(f"{self.path} needs an array points (n, N, 3), got {self.points.shape}")
        self.features: dict[str, np.ndarray] = {
            name: arrays.pop(name) for name in ("normals", "colors") if name in arrays
        }
        for name, array in self.features.items():
            if array.shape != self.points.shape:
                raise ValueError(f"{self.path}: {name} {array.shape} do not match points {self.points.shape}")
            if array.dtype.kind == "f" and (beyond := np.abs(np.nan_to_num(array)).max(initial=0)) > 1 + 1e-3:
                raise ValueError(f"{self.path}: {name} are within -1 to 1, or bytes; these reach {beyond:g}")
        self.columns = _columns(self.path, arrays, len(self.points))
        self.unused = sorted({*arrays} - {*self.columns} - {"label", "classes", "test"})
        for name in (*labels, *scalars, *(only or ())):
            if name not in self.columns:
                raise ValueError(f"no column {name!r} in {self.path}; {suggest(name, list(self.columns))}")
        self.kept, self.skipped = self._chosen(only or {})
        self.labels = tuple(dict.fromkeys([*labels, *scalars]))
        self.fields = {name: self._field(name, name in scalars) for name in self.labels}

    def _chosen(self, only: Mapping[str, Sequence[Label]]) -> tuple[list[int], list[tuple[str, str]]]:
        allowed = {name: {str(v) for v in values} for name, values in only.items()}
        kept, skipped = [], []
        for i in range(len(self.points)):
            if any(str(self.columns[name][i]) not in values for name, values in allowed.items()):
                continue
            parts = {"points": self.points, **self.features}
            strange = [name for name, array in parts.items() if not np.isfinite(array[i]).all()]
            if strange:
                skipped.append((self._name(i), f"its {strange[0]} hold NaN or infinite values"))
            else:
                kept.append(i)
        if not kept:
            reason = f"such as {skipped[0][0]}: {skipped[0][1]}" if skipped else f"none has {dict(only)}"
            raise ValueError(f"nothing usable in {self.path}: of {len(self.points)} clouds {reason}")
        return kept, skipped

    def _field(self, name: str, scalar: bool) -> list[str] | tuple[float, float]:
        try:
            return field_of((self.columns[name][i] for i in self.kept), scalar=scalar)
        except ValueError as error:
            raise ValueError(f"the column {name!r} of {self.path}: {error}; leave it out of data.labels and "
                             "data.scalars") from None

    def __len__(self) -> int:
        return len(self.kept)

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        i = self.kept[index]
        features = {name: _unit(array[i]) for name, array in self.features.items()}
        sample = self.reader.sample(Geometry(_unit(self.points[i]), **features), rng, name=self.name(index))
        return sample, conditioning(self.column(index), self.fields)

    def name(self, index: int) -> str:
        return self._name(self.kept[index])

    def column(self, index: int) -> dict[str, Label]:
        return {name: values[self.kept[index]] for name, values in self.columns.items()}

    def report(self) -> dict:
        return {"file": str(self.path), "kept": len(self), "skipped": [list(pair) for pair in self.skipped],
                "unused_arrays": self.unused}

    def _name(self, i: int) -> str:
        return str(self.columns["id"][i]) if "id" in self.columns else f"cloud-{i:06d}"


def _opened(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (AttributeError, EOFError, BadZipFile, OSError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} is no whole npz file: {error}") from None


def _classes(path: Path, label: np.ndarray, classes: list[Label], count: int) -> list[Label]:
    """The name of each cloud's class; -1 is not told."""
    if label.shape != (count,) or label.dtype.kind not in "iu" or not -1 <= label.min() <= label.max() < len(classes):
        raise ValueError(f"{path}: label is ({count},) whole numbers, places in classes (of which there are "
                         f"{len(classes)}) or -1 for not told; got {label.dtype} {label.shape}")
    return [None if i < 0 else classes[i] for i in label.tolist()]


def _found(root: Path) -> Path:
    if root.is_dir():
        files = sorted(root.glob("[!.]*.npz"))
        if len(files) != 1:
            raise ValueError(f"data.root={root} holds {len(files)} npz files; name the one that is meant")
        return files[0]
    if not root.is_file():
        raise ValueError(f"data.root={root} is neither an npz file nor a folder with one")
    return root


def _unit(array: np.ndarray) -> np.ndarray:
    """Floats as they are; signed whole numbers to [-1, 1] by the largest of their type, bytes by all their range."""
    if array.dtype == np.uint8:
        return array / 127.5 - 1
    if np.issubdtype(array.dtype, np.integer):
        return array / np.iinfo(array.dtype).max
    return array.astype(np.float64)


def _columns(path: Path, arrays: Mapping[str, np.ndarray], count: int) -> dict[str, list[Label]]:
    arrays = dict(arrays)
    columns: dict[str, list[Label]] = {}
    if "classes" in arrays and "label" in arrays:
        columns["class"] = _classes(path, arrays.pop("label"), arrays.pop("classes").tolist(), count)
    if "test" in arrays:
        columns["split"] = ["test" if test else "train" for test in arrays.pop("test")]
    columns |= {name: array.tolist() for name, array in arrays.items() if array.shape == (count,)}
    for index in sorted(p for p in path.parent.glob("*index.json") if not p.name.startswith(".")):
        records = json.loads(index.read_bytes())
        if len(records) != count:
            raise ValueError(f"{index} has {len(records)} records for the {count} clouds of {path.name}")
        names = dict.fromkeys(name for r in records for name, v in r.items() if isinstance(v, (str, int, float)))
        columns = {name: [r.get(name) for r in records] for name in names} | columns
    return columns
