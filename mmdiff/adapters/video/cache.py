"""Decoded clips on disk, so that decoding never limits training.

    one array (frames, height, width, channels) uint8 a file and geometry, read through a memory map

The name is a hash of all that made it - the file's own bytes included - so nothing is ever stale. An array appears
under its name only when it is whole; two processes may make one at once, and the last to finish stays.
"""

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...data.cached import keep


class ClipCache:
    """Arrays below ``folder``."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).expanduser()

    def get(self, key: dict[str, Any], make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of a key, made and stored if it is not there. With a full disk it is made and not stored."""
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:40]
        path = self.folder / name[:2] / f"{name}.npy"
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            array = make()
        if error := keep(path, lambda file: np.save(file, array, allow_pickle=False)):
            warnings.warn(f"the cache {self.folder} cannot be written ({error}): decoding again", stacklevel=2)
        return array
