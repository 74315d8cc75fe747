"""Notes with captions, of which the truth is known: the instrument, and whether the note is low, middle or high.

One of the nine combinations is never learned from, and neither is one order of words. The column ``part`` says what a
note is for: ``train``, or held out as ``seen`` (a combination that is learned) or ``pair`` (the one that is not):

    loader.val={part: [seen, pair]}
"""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from torch import Tensor

from ...core.rng import Purpose, stream
from ...data.dataset import Dataset
from ...data.labels import TEXT, Fields, Label, conditioning
from .io import AudioReader
from .notes import INSTRUMENTS, Notes

HEIGHTS = {"low": (48.0, 53.0), "middle": (57.0, 62.0), "high": (66.0, 71.0)}
"""MIDI numbers."""
FORMS = ("a {height} {instrument} note", "{instrument}, {height}", "a note, {height}, that is {instrument}")
UNSEEN_FORM = "this {instrument} tone is {height}"
"""A sentence in an order that no caption of ``FORMS`` has."""
COMBINATIONS = tuple(product(INSTRUMENTS, HEIGHTS))
PAIR = ("plucked", "high")
"""The combination that is never learned, unless another is named."""
VAL_EVERY = 10
"""One note in so many of a learned combination is held out."""


class CaptionedNotes(Dataset):
    """``n`` notes, the combinations in turn; ``caption`` says whether captions or the two classes condition the model,
    ``pair`` which combination is held out.

    Note i is fixed by (``seed``, i); rate and length come from the reader.
    """

    def __init__(self, reader: AudioReader, *, n: int = 2000, caption: bool = True, pair: Sequence[str] = PAIR,
                 seed: int = 0):
        if (held_out := tuple(pair)) not in COMBINATIONS:
            raise ValueError(f"pair is one of {INSTRUMENTS} and one of {tuple(HEIGHTS)}, got {held_out}")
        self.notes, self.seed, self.pair = Notes(reader, n=n, seed=seed), seed, held_out
        self.fields = {"caption": TEXT} if caption else self.known()

    def __len__(self) -> int:
        return len(self.notes)

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        instrument, _ = COMBINATIONS[index % len(COMBINATIONS)]
        sample = self.notes.played(instrument, self._pitch(index), stream(self.seed, index, Purpose.DATA, 1))
        return sample, conditioning(self.column(index), self.fields)

    def name(self, index: int) -> str:
        return f"note-{index:05d}"

    def column(self, index: int) -> dict[str, Label]:
        (instrument, height), turn = COMBINATIONS[index % len(COMBINATIONS)], index // len(COMBINATIONS)
        part = "seen" if turn % VAL_EVERY == VAL_EVERY - 1 else "train"
        part = "pair" if (instrument, height) == self.pair else part
        truth: dict[str, Label] = {"instrument": instrument, "height": height, "pitch": self._pitch(index)}
        return {**truth, "caption": worded(truth, FORMS[0]), "part": part}

    def _pitch(self, index: int) -> float:
        _, height = COMBINATIONS[index % len(COMBINATIONS)]
        return float(stream(self.seed, index, Purpose.DATA).uniform(*HEIGHTS[height]))

    def captions(self, index: int) -> dict[str, list[str]]:
        if "caption" not in self.fields:
            return {}
        truth = self.column(index)
        return {"caption": [worded(truth, form) for form in FORMS]}

    def known(self) -> Fields:
        return {"instrument": INSTRUMENTS, "height": tuple(HEIGHTS)}

    def report(self) -> dict:
        return self.notes.report()


def worded(truth: Mapping[str, Label], form: str) -> str:
    """A caption."""
    return form.format(**truth)
