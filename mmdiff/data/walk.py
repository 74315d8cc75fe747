"""All files below a folder, symbolic links followed, with a reason for every one that is left out."""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

Skipped = list[tuple[str, str]]
"""(path below the root, why it is not used)."""


def files_below(root: Path, suffixes: Sequence[str], skipped: Skipped, others: Counter[str]) -> list[Path]:
    """The files whose ending is one of ``suffixes``, in order.

    Hidden entries, cycles, links to nothing, names that are not UTF-8 and folders that cannot be opened go to
    ``skipped``; files of other endings are counted in ``others``.
    """
    return sorted(_walk(root, root, (), suffixes, skipped, others))


def utf8(name: str) -> bool:
    """Whether a name is text: on disk it may be any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _walk(
    root: Path, folder: Path, above: tuple[tuple[int, int], ...], suffixes: Sequence[str], skipped: Skipped,
    others: Counter[str],
) -> Iterator[Path]:
    def leave_out(path: Path, reason: str) -> None:
        skipped.append((os.fsencode(path.relative_to(root)).decode(errors="backslashreplace"), reason))

    try:
        status, entries = folder.stat(), sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        return leave_out(folder, f"the folder cannot be opened: {error.strerror}")
    here = (status.st_dev, status.st_ino)
    if here in above:
        return leave_out(folder, "it is a link to a folder that it lies in")
    for entry in entries:
        path = folder / entry.name
        wanted = path.suffix.lower() in suffixes
        try:
            kind = path.stat().st_mode
        except OSError as error:
            leave_out(path, f"{'the link' if entry.is_symlink() else 'it'} cannot be opened: {error.strerror}")
            continue
        if not stat.S_ISDIR(kind) and not wanted:
            others[path.suffix.lower() or "no ending"] += 1
        elif entry.name.startswith("."):
            leave_out(path, "it is hidden: its name begins with a dot")
        elif not utf8(entry.name):
            leave_out(path, "its name is not UTF-8: rename it")
        elif stat.S_ISDIR(kind):
            yield from _walk(root, path, (*above, here), suffixes, skipped, others)
        elif stat.S_ISREG(kind):
            yield path
        else:
            leave_out(path, "it is no ordinary file")
    return None
