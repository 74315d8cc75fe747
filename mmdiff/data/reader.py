"""What opens the files of a modality."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor


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

    @abstractmethod
    def read(self, path: Path, rng: np.random.Generator | None = None) -> Tensor:
        """One sample ``(C, *S)`` float32, without batch.

        ``rng`` makes the random choices (crop, augmentation); None means the one fixed choice used for validation.
        Raises ``ValueError`` with a reason for a file that is corrupt, empty or holds NaN.
        """

    def files(self, path: Path) -> list[Path]:
        """All files that a sample is made of: one, and what it refers to."""
        return [path]

    def shape(self, path: Path) -> tuple[int, ...] | None:
        """The extent ``*S`` of what ``read`` gives for a file, where readings differ by bucket; None = all alike."""
        return None
