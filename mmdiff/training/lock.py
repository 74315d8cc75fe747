"""One process trains a run at a time: a second would write over the first's checkpoints.

The lock is the operating system's, on the file ``.lock`` of the run directory: it ends with the process, however that
ends, so a run that was killed is free at once. It is of the kind that belongs to a process (POSIX), not to an open file
(flock): data workers that outlive their trainer for a moment do not hold it. A file system that knows no locks is told.
"""

import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only

from ..config.build import ConfigError


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run directory. Raises ``ConfigError`` naming the process that already does."""
    if getattr(rank_zero_only, "rank", 0) != 0:
        yield
        return
    run.mkdir(parents=True, exist_ok=True)
    with (run / ".lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):                    # POSIX allows either
            file.seek(0)
            raise ConfigError(
                f"{run} is being trained by {file.read().strip() or 'another process'}: wait for it, stop it, or name "
                "another run="
            ) from None
        except OSError as error:                                      # ENOLCK, ENOSYS, EOPNOTSUPP, ...
            warnings.warn(
                f"{run} cannot be locked ({error.strerror}): start no second process on it", stacklevel=3
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
