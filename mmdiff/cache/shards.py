"""The files that features are kept in: written once, whole or not at all, and never changed.

    HASH.latents    a safetensors file: 8 bytes with the length of its header, the header as JSON, then the tensors.
                    HASH is that of its keys; the header's ``mmdiff`` holds by key the size of each sample, and the
                    checksum (CRC-32) of its features

Several processes may write to one folder: they do not share a file.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fsspec.implementations.local import LocalFileSystem
from safetensors.torch import save
from torch import Tensor

from ..data.writing import write_atomic
from .latents import SHARD, Folder


class Location(NamedTuple):
    """Where features ``(C, *S)`` are: the bytes of a shard from ``begin`` to ``end``, of this ``checksum``; and the
    ``size`` of their sample."""

    shard: str
    begin: int
    end: int
    shape: tuple[int, ...]
    checksum: int
    size: dict[str, float]

    def place(self, numbers: Mapping[str, int]) -> list[Any]:
        """As an index tells it, by the ``numbers`` of shards."""
        return [numbers[self.shard], self.begin, self.end, self.shape, self.checksum]


class Shards:
    """The shards of a folder or URL; what is added is collected until it fills one of ``limit`` bytes."""

    def __init__(self, root: str, *, limit: int):
        self.folder, self.limit = Folder(root), limit
        self.locations: dict[str, Location] = {}
        self._seen: set[str] = set()
        self._waiting: dict[str, Tensor] = {}
        self._told: dict[str, dict[str, Any]] = {}
        self._bytes = 0
        self.refresh()

    def __contains__(self, key: str) -> bool:
        return key in self.locations or key in self._waiting

    def add(self, key: str, features: Tensor, size: dict[str, float]) -> None:
        """Features ``(C, *S)`` on the CPU, and the size of their sample."""
        self._waiting[key] = features.contiguous()
        checksum = zlib.crc32(self._waiting[key].flatten().view(torch.uint8).numpy().data)
        self._told[key] = {"size": size, "checksum": checksum}
        self._bytes += features.nbytes
        if self._bytes >= self.limit:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        if self._waiting:
            name = hashlib.sha256(" ".join(sorted(self._waiting)).encode()).hexdigest()[:32] + SHARD
            self.write(name, save(self._waiting, {"mmdiff": json.dumps(self._told)}))
            self._waiting, self._told, self._bytes = {}, {}, 0
            self._index(name)

    def refresh(self) -> None:
        """Look for shards that were written by others."""
        for name in self.folder.names(SHARD):
            if name not in self._seen:
                self._index(name)

    def write(self, name: str, data: bytes) -> None:
        """A file, whole or not at all: an object store promises that, on a disk it is renamed into place."""
        files, path = self.folder.open()
        if isinstance(files, LocalFileSystem):
            Path(path).mkdir(parents=True, exist_ok=True)
            write_atomic(Path(path) / name, data)
        else:
            files.pipe_file(f"{path}/{name}", data)

    def remove(self, name: str) -> None:
        """Delete a file if it is there."""
        files, path = self.folder.open()
        if files.exists(f"{path}/{name}"):
            files.rm_file(f"{path}/{name}")

    def _index(self, name: str) -> None:
        files, path = self.folder.open()
        start = 8 + int.from_bytes(self.folder.read(name, 0, 8), "little")
        if start >= files.size(f"{path}/{name}"):
            return                                                    # cut off, by a copy that was stopped
        try:
            entries: dict[str, Any] = json.loads(self.folder.read(name, 8, start))
            told = json.loads(entries.pop("__metadata__")["mmdiff"])
            locations = {}
            for key, entry in entries.items():
                begin, end = entry["data_offsets"]
                locations[key] = Location(name, start + begin, start + end, tuple(entry["shape"]), **told[key])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return                                                    # no file of ours
        if locations and max(location.end for location in locations.values()) == files.size(f"{path}/{name}"):
            self.locations |= locations
            self._seen.add(name)
