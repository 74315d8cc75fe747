"""The frame rate of a set of films."""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...data.progress import progress_bar
from .index import VideoIndex

NEAR = 0.02
"""Relative difference of rates that are one: clocks of files are rounded."""


def common_rate(paths: Sequence[Path], *, otherwise: float) -> float:
    """Frames per second that all films have, or ``otherwise`` where there is none. Raises ``ValueError`` that names the
    key where they have several, or where frames are pictures, which tell none."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(progress_bar(pool.map(_rate, paths), "frame rates", len(paths), unit="file", leave=False))
    rates = sorted(rate for rate in found if rate)
    if not rates:
        if folder := next((path for path in paths if path.is_dir()), None):
            raise ValueError(f"folders of pictures such as {folder} tell no frame rate: name it, such as "
                             f"adapter.codec.fps={otherwise:g}")
        return otherwise
    if rates[-1] > rates[0] * (1 + NEAR):
        (usual, _), *_ = counts = Counter(round(rate, 1) for rate in rates).most_common(4)
        listed = ", ".join(f"{rate:g} ({count} file{'s' * (count > 1)})" for rate, count in counts)
        raise ValueError(f"the files have several frame rates: {listed}. Name the one that all are to be read at: "
                         f"adapter.codec.fps={usual:g}")
    return round(rates[len(rates) // 2], 2)


def _rate(path: Path) -> float | None:
    try:
        return VideoIndex.of(path).rate
    except (ValueError, OSError):                                     # it is skipped, and named, when it is checked
        return None
