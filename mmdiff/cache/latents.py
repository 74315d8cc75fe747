"""A codec's features, encoded once, as a data set: on this disk or in an object store.

    index.json              settings, the data encoded, fields, shards, and the items in order: name, columns, shape,
                            size, places, digest of the sample, places by map of what lies beside it
    HASH.latents            features of many items, each under its key: a safetensors file

    place   [shard, first byte, byte behind the last, shape, CRC-32 of those bytes]    one request an item

What a *key* is made of is in ``mmdiff.cache.encode``, how a cache is written in ``mmdiff.cache.shards``.
"""

import copy
import json
import math
import os
import zlib
from collections.abc import Sequence
from typing import Any

import fsspec
import numpy as np
import torch
from torch import Tensor

from ..data.dataset import Dataset
from ..data.labels import Label, conditioning
from ..data.reader import Reader
from ..data.stream import Shape

FORMAT = 2
INDEX = "index.json"
SHARD = ".latents"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
PARTS = {"settings": dict, "fields": dict, "data": dict, "source": dict, "skipped": list, "shards": list, "items": list}


class Folder:
    """A folder on this disk, or a URL that fsspec opens (``s3://bucket/latents``); each process opens it for itself."""

    def __init__(self, root: str):
        self.root = str(root)
        self._opened: tuple[int, Any, str] = (-1, None, "")

    def __reduce__(self) -> tuple:
        return Folder, (self.root,)

    def open(self) -> tuple[Any, str]:
        """The file system and the path in it. Raises ``ValueError`` for a URL that cannot be opened here."""
        if self._opened[0] != os.getpid():
            try:
                self._opened = (os.getpid(), *fsspec.core.url_to_fs(self.root))
            except (ImportError, ValueError) as error:
                raise ValueError(f"{self.root} cannot be opened: {error}") from None
        return self._opened[1:]

    def read(self, name: str, begin: int | None = None, end: int | None = None) -> bytes:
        """A file, or those bytes of it. Raises ``OSError`` where it is not there."""
        files, path = self.open()
        return files.cat_file(f"{path}/{name}", start=begin, end=end)

    def names(self, suffix: str = "") -> list[str]:
        """The files of the folder, in order."""
        files, path = self.open()
        found = files.ls(path, detail=False) if files.isdir(path) else []
        names = (str(name).rstrip("/").rpartition("/")[2] for name in found)
        return sorted(name for name in names if name.endswith(suffix) and not name.startswith("."))


class Latents(Dataset):
    """What ``mmdiff encode`` has written to ``root``, a folder or a URL.

    Of several ``copies`` of an item an ``rng`` picks one; without, it is the first, whose choices are the fixed ones.
    Raises ``ValueError`` where there is no cache.
    """

    encoded = True

    def __init__(self, reader: Reader | None, root: str):
        self.folder = Folder(root)
        try:
            index = json.loads(self.folder.read(INDEX))
        except OSError:
            parts = self.folder.names(SHARD)
            reason = "its encoding has not come to its end" if parts else "write one with: mmdiff encode"
            raise ValueError(f"data.root={root} holds no {INDEX}, so no cache of latents: {reason}") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{root}/{INDEX} is damaged: {error}") from None
        _check(index, f"{root}/{INDEX}")
        self.settings, self.fields, self.items = index["settings"], index["fields"], index["items"]
        self.shards, self.source, self.skipped = index["shards"], index["source"], index["skipped"]
        self.origin, self.consent = index["data"], index["source"].get("consent")
        self.inferred = codec if isinstance(codec := self.settings.get("codec"), dict) else {}
        self.dtype = DTYPES[self.settings["dtype"]]
        self.maps = tuple(dict.fromkeys(name for item in self.items for name in item.get("maps", {})))

    def __len__(self) -> int:
        return len(self.items)

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        item = self.items[index]
        return self._features(item["places"], rng), conditioning(item["column"], self.fields)

    def beside(
        self, index: int, rng: np.random.Generator | None = None, names: Sequence[str] | None = None
    ) -> dict[str, Tensor | None]:
        maps = self.items[index].get("maps", {})
        return {name: self._features(maps[name], copy.deepcopy(rng)) if name in maps else None
                for name in self.maps if names is None or name in names}

    def mapped(self, index: int) -> list[str]:
        return list(self.items[index].get("maps", {}))

    def _features(self, places: Sequence[list], rng: np.random.Generator | None) -> Tensor:
        """One of the copies of a sample's features."""
        shard, begin, end, shape, checksum = places[0 if rng is None else int(rng.integers(len(places)))]
        data = self.folder.read(self.shards[shard], begin, end)
        if len(data) != end - begin or zlib.crc32(data) != checksum:
            raise ValueError(f"{self.shards[shard]} of {self.folder.root} is damaged or cut off: delete it, and the "
                             "command that made it makes it again")
        return torch.frombuffer(bytearray(data), dtype=self.dtype).reshape(shape).float()

    def name(self, index: int) -> str:
        return self.items[index]["name"]

    def shape(self, index: int) -> Shape:
        shape = self.items[index]["shape"]
        return None if shape is None else tuple(shape)

    def extent(self, index: int) -> Shape:
        return tuple(self.items[index]["places"][0][3][1:])

    def size(self, index: int) -> dict[str, float]:
        return self.items[index]["size"]

    def column(self, index: int) -> dict[str, Label]:
        return self.items[index]["column"]

    def captions(self, index: int) -> dict[str, list[str]]:
        return self.items[index].get("captions", {})

    def digest(self, index: int) -> str:
        """Of the sample that the features were made of."""
        return self.items[index]["digest"]

    def report(self) -> dict:
        return {**self.source, "latents": self.folder.root, "kept": len(self), "skipped": self.skipped}


def _check(index: Any, where: str) -> None:
    """Raise ``ValueError`` for an index that ``mmdiff encode`` does not write: it may come from anybody."""
    if isinstance(index, dict) and isinstance(index.get("format"), int) and index["format"] > FORMAT:
        raise ValueError(f"{where} has format {index['format']}, this version reads up to {FORMAT}: update mmdiff")
    if not isinstance(index, dict) or index.get("format") != FORMAT or not all(
            isinstance(index.get(name), kind) for name, kind in PARTS.items()):
        raise ValueError(f"{where} is no index of latents: encode them again")
    if (dtype := index["settings"].get("dtype")) not in DTYPES:
        raise ValueError(f"{where} is damaged: its dtype is {dtype!r}, not one of {', '.join(DTYPES)}")
    for name in index["shards"]:
        if not isinstance(name, str) or not name.endswith(SHARD) or set("/\\:") & set(name):
            raise ValueError(f"{where} is refused: it names {name!r}, which is no file of its own folder")
    for number, item in enumerate(index["items"]):
        try:
            _check_item(item, len(index["shards"]), DTYPES[dtype].itemsize)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where} is damaged: item {number} is not as it is written ({error!r})") from None


def _check_item(item: dict[str, Any], shards: int, itemsize: int) -> None:
    maps = item.get("maps", {})
    if not isinstance(maps, dict) or not all(maps.values()):
        raise ValueError("its maps have places by name")
    places = [*item["places"], *(place for several in maps.values() for place in several)]
    shapes = [item["shape"] or [], *(place[3] for place in places)]
    if not all(isinstance(n, int) and n > 0 for shape in shapes for n in shape) or not item["places"]:
        raise ValueError("a shape is of whole numbers")
    for shard, begin, end, shape, checksum in places:
        if not 0 <= shard < shards or not begin >= 0 or end - begin != itemsize * math.prod(shape) or len(shape) < 2:
            raise ValueError(f"{shard}, {begin} and {end} are no place of {shape}")
        if not isinstance(checksum, int):
            raise ValueError("a checksum is a whole number")
    if not isinstance(item["name"], str) or not isinstance(item["column"], dict) or not isinstance(item["size"], dict):
        raise ValueError("it has a name, columns and a size")
    captions = item.get("captions", {})
    if not isinstance(captions, dict) or not all(isinstance(t, str) for several in captions.values() for t in several):
        raise ValueError("its captions are lists of texts")
