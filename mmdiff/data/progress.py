"""Progress bars: redrawn on a terminal, now and then a line of their own where stderr is a file or a pipe."""

import sys
import time
from collections.abc import Iterable
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

SECONDS = 30.0
"""Between two lines of a bar in a file."""

Item = TypeVar("Item")


class Lines:
    """A text stream that gets what is drawn over one line as lines, without the moves of a terminal's cursor."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text as a line, if there is any."""
        if shown := text.replace("\x1b[A", "").strip():
            self._stream.write(f"{shown}\n")
        return len(text)


class LoggedBar(tqdm):
    """A bar that is not written more often than every ``SECONDS``, whoever asks; but for its first and last state."""

    def refresh(self, *args: Any, **options: Any) -> None:
        """Write the bar, if it is time."""
        if (now := time.time()) - getattr(self, "last_print_t", 0) >= SECONDS:
            self.last_print_t = now
            super().refresh(*args, **options)


def progress_bar(
    items: Iterable[Item] | None = None, title: str | None = None, total: int | None = None, **options: Any
) -> "tqdm[Item]":
    """tqdm's, with its ``options``, over ``items`` or up to ``total``; in a file its first and last state stay."""
    kind: Any = tqdm
    if not sys.stderr.isatty():
        options |= {"file": Lines(sys.stderr), "mininterval": SECONDS, "maxinterval": SECONDS, "leave": True}
        kind = LoggedBar
    return kind(items, title, total, **options)
