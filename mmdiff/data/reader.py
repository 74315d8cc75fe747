"""What opens the files of a modality."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from torch import Tensor


class Advice(NamedTuple):
    """One override of a training configuration for the files at hand, as it is typed, and why."""

    key: str
    value: str
    reason: str

    @property
    def word(self) -> str:
        """As it is typed."""
        return f"{self.key}={self.value}"


class Reader(ABC):
    """Files to samples; picklable, so that data workers can hold it."""

    suffixes: tuple[str, ...]
    """Lower-case file endings that this modality reads, with the dot."""

    incidental: tuple[str, ...] = ()
    """Arguments of the constructor that change no sample, such as where a cache is."""

    by_name: bool = False
    """Whether the fixed choice of a reading without ``rng`` hangs on the file's name."""

    buckets: Sequence[tuple[int, ...]] = ()
    """The extents that files are sorted into, where ``shape`` tells them."""

    open: bool = False
    """Whether a setting was left to the files, which ``settle`` will look at."""

    timed: bool = False
    """Whether files have a time, of which ``read`` takes ``part`` alone."""

    part: tuple[float, float] = (0.0, 1.0)
    """From and to what share of its time a file is read."""

    def within(self, start: float, stop: float) -> Self:
        """The same reader of a part of each file's time. Raises ``ValueError`` for one that reads files as wholes."""
        if not self.timed:
            raise ValueError(f"loader.by_time: {type(self).__name__} reads files as wholes, which have no last part")
        other = copy.copy(self)
        other.part = (start, stop)
        return other

    def span(self, length: int) -> tuple[int, int]:
        """The first position of ``part`` of a file of ``length`` positions, and the one behind the last."""
        first, last = (round(fraction * length, 6) for fraction in self.part)
        return math.ceil(first), math.ceil(last)

    def infer(self, paths: Sequence[Path]) -> dict[str, Any]:
        """Take what was left to the files from them, and give it by the names of the codec's arguments. Raises
        ``ValueError`` that names the key where they do not agree."""
        return {}

    def advice(self, paths: Sequence[Path], *, count: int, small: bool) -> list[Advice]:
        """What a recipe should say that is to learn ``count`` files like ``paths``: keys of any part that the modality
        brings, in the order in which they are shown. ``small`` is asked for where time is short."""
        return []

    def clips(self, path: Path) -> int:
        """How many samples ``part`` of a file holds one after another."""
        return 1

    @abstractmethod
    def read(self, path: Path, rng: np.random.Generator | None = None) -> Tensor:
        """One sample ``(C, *S)`` float32, without batch.

        ``rng`` makes the random choices (crop, augmentation); None means the one fixed choice used for validation.
        Raises ``ValueError`` with a reason for a file that is corrupt, empty or holds NaN.
        """

    def misfit(self, path: Path, other: Path) -> str | None:
        """Why a choice for ``path`` is none for ``other``, such as that it is shorter; None where it is one."""
        return None

    def beside(self, path: Path, other: Path, rng: np.random.Generator | None = None) -> Tensor:
        """``other`` ``(C, *S)`` as ``path`` is read with an ``rng`` in that state: of the same place, turned alike."""
        return self.read(other, rng)

    def samples(self, paths: Sequence[Path]) -> list[Path]:
        """The samples that files make: each file one, unless several are one together; those are named by their folder.
        """
        return list(paths)

    def files(self, path: Path) -> list[Path]:
        """All files that a sample is made of: one, and what it refers to."""
        return [path]

    def shape(self, path: Path) -> tuple[int, ...] | None:
        """The extent ``*S`` of what ``read`` gives for a file, where readings differ by bucket; None = all alike."""
        return None
