"""The check of files before a run: each is read once, and not again until it changes.

    CACHE/checked/HASH.json     {path: [[[file, bytes, mtime in ns], ...], extent]},  the hash of what reads them

The files of a sample are the one named and those that it refers to, such as the buffers of a glTF scene.

Only what could be read is kept, so that what could not is tried again each time. Ranks that start together wait for
the first of them to have read all.
"""

import hashlib
import inspect
import json
import os
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from .cached import cache_folder, keep, one_at_a_time
from .progress import progress_bar
from .reader import Reader

Extent = tuple[int, ...]
Known = dict[str, list]


def extents(reader: Reader, paths: Sequence[Path]) -> list[Extent | str]:
    """The extent ``*S`` of what each file holds, or why it cannot be used."""
    store = cache_folder(None if (identity := _identity(reader)) else os.devnull) / "checked" / f"{identity}.json"
    with one_at_a_time(store):
        known = _load(store)
        found: list[Extent | str | None] = [_recall(known, path) for path in paths]
        missing = [i for i, extent in enumerate(found) if extent is None]
        stamps = {i: _stamps(_files(reader, paths[i])) for i in missing}          # as they were before they are read
        try:
            _read(reader, paths, missing, found)
        finally:                                                      # stopped by hand: what was read need not be again
            fresh = {_key(paths[i]): [stamps[i], found[i]] for i in missing if isinstance(found[i], tuple)}
            if fresh:
                keep(store, lambda file: file.write(json.dumps(known | fresh).encode()))
    return [extent for extent in found if extent is not None]


def _read(reader: Reader, paths: Sequence[Path], missing: list[int], found: list) -> None:
    def extent(i: int) -> None:
        try:
            found[i] = tuple(reader.read(paths[i]).shape[1:])
        except (ValueError, OSError) as error:
            found[i] = str(error)

    if not missing:
        return
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for _ in progress_bar(pool.map(extent, missing), "checking files", len(missing), unit="file", leave=False):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def _identity(reader: Reader) -> str:
    """A hash of a reader's settings and of the code that reads; what differs without need costs one more check.

    Empty for a reader that cannot be pickled.
    """
    try:
        digest = hashlib.sha256(f"{version('mmdiff')} {type(reader).__qualname__}".encode() + pickle.dumps(reader))
    except (pickle.PicklingError, AttributeError, TypeError):
        return ""
    source = inspect.getsourcefile(type(reader))
    digest.update(Path(source).read_bytes() if source and Path(source).is_file() else b"")
    return digest.hexdigest()[:32]


def _load(store: Path) -> Known:
    try:
        known = json.loads(store.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _key(path: Path) -> str:
    return str(path.absolute())


def _files(reader: Reader, path: Path) -> list[Path]:
    try:
        return reader.files(path)
    except (ValueError, OSError):                                     # it will not be read either
        return [path]


def _stamps(paths: Sequence[Path]) -> list[list] | None:
    """What changes where one of the files is written anew; None where one is not there."""
    try:
        return [[_key(path), (stat := path.stat()).st_size, stat.st_mtime_ns] for path in paths]
    except OSError:
        return None


def _recall(known: Known, path: Path) -> Extent | None:
    stamps, extent = known.get(_key(path), ([], ()))
    return tuple(extent) if stamps and stamps == _stamps([Path(file) for file, _, _ in stamps]) else None
