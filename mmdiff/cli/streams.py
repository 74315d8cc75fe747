"""Output that nobody reads any more (a closed pipe, terminal or descriptor) ends no work.

The first write that fails turns the descriptor to nowhere, for this process and those that it starts.
"""

import os
import sys
from typing import Any, TextIO

NAMES = {0: "stdin", 1: "stdout", 2: "stderr"}


class Lasting:
    """A text stream whose writes never fail."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or lose the text."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._leave(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or lose what is left."""
        try:
            self._stream.flush()
        except OSError as error:
            self._leave(error)

    def _leave(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        self._stream.flush()                                          # what is left goes nowhere, too
        other = sys.stderr if self._stream.fileno() == 1 else sys.stdout
        if not isinstance(error, BrokenPipeError):                    # a reader such as head has read enough
            print(f"output cannot be written any more, going on without: {error}", file=other)


def settle() -> None:
    """Give this process three descriptors that are open, and output that lasts."""
    for number, name in NAMES.items():
        try:
            os.fstat(number)
        except OSError:                                               # closed: a file opened next would take its place
            os.open(os.devnull, os.O_RDWR)                            # takes the lowest number that is free
            if getattr(sys, name) is None:
                setattr(sys, name, open(number, "r" if number == 0 else "w"))    # noqa: SIM115 (for as long as we run)
    sys.stdout, sys.stderr = Lasting(sys.stdout), Lasting(sys.stderr)
