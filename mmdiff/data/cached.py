"""What was worked out of files and is only quicker to have: kept on disk where that can be written.

A name appears only when its content is whole. Nothing here fails: what cannot be kept is worked out again.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO


def cache_folder(folder: str | Path | None = None) -> Path:
    """``folder``, else $MMDIFF_CACHE or ~/.cache/mmdiff; where nobody knows a home, a place that holds nothing."""
    try:
        return Path(folder or os.environ.get("MMDIFF_CACHE") or "~/.cache/mmdiff").expanduser()
    except RuntimeError:
        return Path(os.devnull)


def keep(path: Path, write: Callable[[BinaryIO], object]) -> OSError | None:
    """``write`` the file of that name; gives the error where it cannot be kept."""
    partial = path.with_name(f".{path.stem}.{os.getpid()}.{id(write)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            write(file)
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        return error
    return None


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Processes that are about to work out the same thing do it one after another, so that the first does it for all.

    Where files cannot be locked each does it for itself.
    """
    file = None
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_suffix(".lock").open("wb")
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if file is not None:
            file.close()
