"""The shapes that were opened last, in memory, because opening a mesh takes longer than sampling it.

Every worker has its own, which starts as a copy of its parent's after a fork and empty after pickling. Nothing is
locked: single operations on a dict are atomic, and two threads that miss the same shape open it twice.
"""

from collections.abc import Callable
from pathlib import Path

from .files import Geometry


class RecentShapes:
    """At most ``most`` points and faces together, but always the last shape; a changed file is opened anew."""

    def __init__(self, most: int):
        self.most = most
        self._cache: dict[tuple[Path, int, int], Geometry] = {}

    def __reduce__(self) -> tuple:
        return RecentShapes, (self.most,)

    def get(self, path: Path, make: Callable[[Path], Geometry]) -> Geometry:
        """The shape of a file, made unless it is held."""
        try:
            status = path.stat()
        except OSError as error:
            raise ValueError(f"{path} cannot be opened: {error.strerror}") from None
        key = (path, status.st_mtime_ns, status.st_size)
        shape = self._cache.pop(key, None)
        if shape is None:
            shape = make(path)
            self._trim(self.most - _size(shape))
        self._cache[key] = shape                                      # last in the dict's order
        return shape

    def _trim(self, room: int) -> None:
        cached = list(self._cache.items())
        total = sum(_size(shape) for _, shape in cached)
        for key, shape in cached:
            if total <= room:
                break
            self._cache.pop(key, None)
            total -= _size(shape)


def _size(shape: Geometry) -> int:
    return len(shape.points) + (0 if shape.faces is None else len(shape.faces))
