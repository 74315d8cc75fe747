"""A log of what was made, in which an edit shows: rows of JSON, each with the hash of the one before.

    DIR/HOST-PID-TIME.jsonl     one chain a job and process: start, file ..., then end | refused | failed
    row                         {n, time, kind, ..., previous, hash},       hash = SHA-256 of the rest of the row
    HOST-PID-TIME.jsonl.c2pa    the signature of a whole chain, where its files are signed

The row of a file is written before the file appears, and a signed file names its row and hash: so neither a row that
was changed, deleted, inserted or moved, nor a tail that was cut off goes unseen. Whoever can write the log can write
another; what nobody can make again without the key is the signature, and what others hold already.
"""

import getpass
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from ..config.build import ConfigError
from ..data.writing import write_atomic
from .signing import BESIDE, Signing

MANIFEST = "manifest.jsonl"
"""The list of the files of a job, which is no log, though a log may lie in its folder."""
NONE = "0" * 64
"""What the first row has for the hash of the one before."""


class Refused(ConfigError):
    """What is asked for is against the rules of who runs this."""


class Chain:
    """The rows that one job of this process writes, each on the disk before the next thing is done."""

    def __init__(self, path: Path, file: BinaryIO, who: str):
        self.path, self.who = path, who
        self._file, self._n, self._last = file, 0, NONE

    def row(self, kind: str, **facts: Any) -> dict[str, Any]:
        """Append a row; gives what a file says of it: ``chain``, ``row`` and ``hash``."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        row = {"n": self._n, "time": now, "kind": kind, "who": self.who, **facts, "previous": self._last}
        self._last = hash_of(row)
        self._file.write((json.dumps({**row, "hash": self._last}) + "\n").encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._n += 1
        return {"chain": self.path.name, "row": self._n - 1, "hash": self._last}


@contextmanager
def chain(
    folder: str | Path, *, who: str | None = None, signing: Signing | None = None, **facts: Any
) -> Iterator[Chain]:
    """A new chain of a job, from its start to its end or to what it failed by; signed then, where ``signing`` can.

    ``who`` is whom the samples are made for (default: the user that the operating system names). Raises ``ConfigError``
    where ``folder`` cannot be written to.
    """
    folder = Path(folder).expanduser()
    name = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / name).open("xb", buffering=0)
    except OSError as error:
        raise ConfigError(f"audit={folder} cannot be written to: {error.strerror or error}") from None
    with file:
        opened = Chain(folder / name, file, who or _user())
        opened.row("start", **facts)
        try:
            yield opened
        except BaseException as error:
            kind = "refused" if isinstance(error, Refused) else "failed"
            opened.row(kind, reason=f"{type(error).__name__}: {error}"[:500])
            with suppress(Exception):                                 # what failed is told, not that this does too
                _sign(opened.path, signing)
            raise
        opened.row("end")
    _sign(opened.path, signing)


def _sign(path: Path, signing: Signing | None) -> None:
    """Sign a chain that has ended, in whatever way."""
    if signing is not None and (signature := signing.sign(path, path.name, {}, {}, generated=False)) is not None:
        write_atomic(Path(f"{path}{BESIDE}"), signature)


def _user() -> str:
    """The user of the system; its number where a container has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def hash_of(row: Mapping[str, Any]) -> str:
    """The hash of a row, of everything in it but ``hash``."""
    rest = {name: value for name, value in row.items() if name != "hash"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def chains(folder: Path) -> list[Path]:
    """The chains of a log. Raises ``ConfigError`` where there is none."""
    found = sorted(path for path in Path(folder).expanduser().glob("*.jsonl") if path.name != MANIFEST)
    if not found:
        raise ConfigError(f"{folder} holds no log: it is the folder that audit= named")
    return found
