"""Captions in text files beside the samples: NAME.txt for NAME.wav."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from .captions import ENDING, beside, caption_file
from .tables import TableRow
from .walk import Skipped, files_below

CAPTION = "caption"
"""The column of captions that are beside the files."""


def read_captions(
    root: Path, rows: Sequence[tuple[Path, TableRow]], suffixes: Sequence[str], skipped: Skipped
) -> None:
    """Give each of ``rows`` the captions beside its file; those without one go to ``skipped``. Raises ``ValueError``
    where there are none, or another column of that name."""
    if ENDING in suffixes:
        raise ValueError(f"data.captions=true: samples are {ENDING} files themselves; name captions in a table")
    if any(CAPTION in cells for _, cells in rows):
        raise ValueError(f"data.captions=true, and there is a column {CAPTION!r} already: take that by "
                         f"data.texts=[{CAPTION}], or call it otherwise")
    for path, cells in rows:
        cells[CAPTION] = beside(path) or None
    if not any(cells[CAPTION] for _, cells in rows):
        raise ValueError(f"data.captions=true: none of {len(rows)} files in {root} has its caption beside it, such as "
                         f"{caption_file(rows[0][0]).name}")
    there = {caption_file(path) for path, _ in rows}
    for file in files_below(root, (ENDING,), [], Counter()):
        if file not in there:
            skipped.append((str(file.relative_to(root)), "it is a caption without its file"))


def with_captions(paths: Iterable[Path]) -> int:
    """How many files have a text file beside them."""
    return sum(caption_file(path).is_file() for path in paths)
