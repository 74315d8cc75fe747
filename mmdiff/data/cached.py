"""What was worked out of files and is only quicker to have: kept on disk where that can be written.

A name appears only when its content is whole. Nothing here fails: what cannot be kept is worked out again.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
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


def shared(path: Path, left: Callable[[], Sequence[int]]) -> Iterator[int]:
    """Numbers of the parts of a work that are ``left`` to do: each to one of the processes that ask, until none is left
    to any. What a process was at that ended early goes to another.

    A part is locked by the byte of its number of the file ``path``; where files cannot be locked each process does all.
    """
    file, done = None, set[int]()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
    try:
        while numbers := [number for number in left() if number not in done]:
            mine = next((number for number in numbers if _locked(file, number)), numbers[0])
            _locked(file, mine, wait=True)                            # all are taken: wait for the first
            if mine in left():                                        # nobody has done it meanwhile
                done.add(mine)
                yield mine
            _unlocked(file, mine)
    finally:
        if file is not None:
            file.close()


def _locked(file: BinaryIO | None, number: int, *, wait: bool = False) -> bool:
    """Whether this process holds a byte of the file, which it may ``wait`` for."""
    try:
        if file is not None:
            fcntl.lockf(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
    except (BlockingIOError, PermissionError):                        # POSIX allows either
        return False
    except OSError:
        return True                                                   # it knows no locks
    return True


def _unlocked(file: BinaryIO | None, number: int) -> None:
    with contextlib.suppress(OSError):
        if file is not None:
            fcntl.lockf(file, fcntl.LOCK_UN, 1, number)


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
