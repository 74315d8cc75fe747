"""Captions of samples, and how a draw words them.

    one           a text                       a cell, or NAME.txt beside the file, its white space folded
    several       a JSON list of texts         a draw is told one of them, by its key; validation the first
    tags          "anna, red hair, smiling"    a draw has them in another order, and some left out

An empty text is not told.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .labels import Label, folded

ENDING = ".txt"
"""Of the file beside a sample that holds its caption."""
BEGUN = re.compile(r"""\s*\[\s*["']""")
"""How a list of texts begins, also one that Python has written."""


def captions(cell: Any) -> list[str]:
    """The captions that a cell or a file holds; none where it is empty. Raises ``ValueError`` for what is no text, nor
    the list of texts that it begins as."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            listed = json.loads(cell)
        except (ValueError, RecursionError):
            listed = None                                             # a text may begin with a bracket
        if isinstance(listed, list) and all(isinstance(item, str) for item in listed):
            cell = listed
        elif BEGUN.match(cell):
            raise ValueError(f"it begins as a list of texts and is none in JSON, "
                             f'["one", "another"]: {cell.strip():.40}')
    cells = cell if isinstance(cell, list) else [cell]
    if not all(item is None or (isinstance(item, str | int | float) and not isinstance(item, bool)) for item in cells):
        raise ValueError("it is no text and no list of texts")
    return [caption for item in cells if item is not None and item == item and (caption := folded(item))]


def caption_file(path: Path) -> Path:
    """The text file beside a sample, which is a file or a folder."""
    return path.with_name(f"{path.name if path.is_dir() else path.stem}{ENDING}")


def beside(path: Path) -> list[str]:
    """The captions in the text file beside a sample; none where there is no such file."""
    file = caption_file(path)
    try:
        return captions(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} holds no caption: {error}; it is a text in UTF-8, or a JSON list of texts") from None


class Tags:
    """Captions as tags: a draw has those behind the first ``keep`` in another order, each left out with probability
    ``drop``. ``variants`` wordings are made of a caption, of which a draw takes one, so that states can be kept."""

    def __init__(self, *, separator: str = ",", keep: int = 0, drop: float = 0.0, variants: int = 8):
        if not separator.strip() or keep < 0 or not 0 <= drop < 1 or variants < 1:
            raise ValueError("need a separator, keep >= 0, drop in [0, 1) and variants >= 1, got "
                             f"{separator!r}, {keep}, {drop} and {variants}")
        self.separator, self.keep, self.drop, self.variants = separator, keep, drop, variants

    def __call__(self, caption: str, rng: np.random.Generator) -> str:
        """One wording."""
        tags = [tag.strip() for tag in caption.split(self.separator)]
        number = int(rng.integers(self.variants))
        variant_rng = np.random.default_rng(list(hashlib.sha256(f"{number} {caption}".encode()).digest()))
        first, rest = tags[: self.keep], tags[self.keep :]
        order = [rest[i] for i in variant_rng.permutation(len(rest))]
        left = [tag for tag, u in zip(order, variant_rng.random(len(order)), strict=True) if u >= self.drop]
        return f"{self.separator} ".join(first + left) or caption


def worded(
    labels: Mapping[str, Label], captions: Mapping[str, Sequence[str]], tags: Tags | None, rng: np.random.Generator
) -> dict[str, Label]:
    """Labels with one of the ``captions`` of each text field, as a draw tells it."""
    out = dict(labels)
    for name, several in captions.items():
        if name in out and several:
            caption = several[int(rng.integers(len(several)))] if len(several) > 1 else several[0]
            out[name] = caption if tags is None else tags(caption, rng)
    return out
