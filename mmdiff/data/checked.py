"""The check of files before a run: each is read once, and not again until it changes.

    CACHE/checked/HASH.json     {path: [bytes, mtime in ns, extent]},  the hash of what reads them

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

from tqdm import tqdm

from .cached import cache_folder, keep, one_at_a_time
from .reader import Reader

Extent = tuple[int, ...]
Known = dict[str, list]


def extents(reader: Reader, paths: Sequence[Path]) -> list[Extent | str]:
    """The extent ``*S`` of what each file holds, or why it cannot be used."""
    store = cache_folder(None if (identity := _identity(reader)) else os.devnull) / "checked" / f"{identity}.json"
    with one_at_a_time(store):
        known = _load(store)
        stats = [_stat(path) for path in paths]
        found: list[Extent | str | None] = [_recall(known, *pair) for pair in zip(paths, stats, strict=True)]
        missing = [i for i, extent in enumerate(found) if extent is None]
        try:
            _read(reader, paths, missing, found)
        finally:                                                      # stopped by hand: what was read need not be again
            fresh = {_key(paths[i]): [*stats[i], found[i]] for i in missing if stats[i] and isinstance(found[i], tuple)}
            if fresh:
                keep(store, lambda file: file.write(json.dumps(known | fresh).encode()))
    return found


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
        for _ in tqdm(pool.map(extent, missing), "checking files", len(missing), unit="file", leave=False):
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


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _recall(known: Known, path: Path, stat: tuple[int, int] | None) -> Extent | None:
    size, changed, extent = known.get(_key(path), (None, None, None))
    return tuple(extent) if stat is not None and (size, changed) == stat else None
