"""Films of one shape with captions, of which the truth is known: shape, colour, pace and direction.

    centre(t) = start + speed t direction,     all of it within the frame

Of the 96 combinations 19 are never learned from: a pair of shape and colour as such, and eleven others. So is one
order of words. The column ``part`` says what a film is for: ``train``, or held out as ``seen`` (a combination that is
learned), ``pair`` or ``four`` (one that is not):

    loader.val={part: [seen, pair, four]}
"""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from ...core.rng import Purpose, stream
from ...data.dataset import Dataset
from ...data.labels import TEXT, Fields, Label, conditioning
from .shapes import COLOURS, RADIUS, SHAPES, render

PACES = {"slowly": (0.1, 0.2), "fast": (0.45, 0.6)}
"""Shorter sides per second."""
DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
"""(y, x)."""
FORMS = (
    "a {colour} {shape} moving {pace} {direction}", "{pace} {direction} goes the {colour} {shape}",
    "the {shape} is {colour} and moves {direction} {pace}", "{colour} {shape}, {pace}, {direction}",
)
UNSEEN_FORM = "moving {direction}, {pace}: a {shape} in {colour}"
"""A sentence in an order that no caption of ``FORMS`` has."""
PAIRS, WAYS = tuple(product(SHAPES, COLOURS)), tuple(product(PACES, DIRECTIONS))
COMBINATIONS = tuple((*pair, *way) for pair in PAIRS for way in WAYS)
PAIR = ("triangle", "yellow")
"""A shape and a colour that are never learned together, unless others are named."""
VAL_EVERY = 10
"""One film in so many of a learned combination is held out."""


class CaptionedShapes(Dataset):
    """``n`` films ``(3, frames, size, size)`` in [-1, 1] at ``fps`` frames per second, the combinations in turn.

    ``caption`` says whether captions or the four classes condition the model; ``pair`` is the shape and the colour that
    are not learned together. With an ``rng`` start, radius and speed of a read are new, otherwise fixed by (``seed``,
    index).
    """

    def __init__(
        self, reader: object = None, *, n: int = 2400, frames: int = 8, size: int = 32, fps: float = 8.0,
        caption: bool = True, pair: Sequence[str] = PAIR, seed: int = 0,
    ):
        if n < 1 or frames < 1 or size < 8 or fps <= 0:
            raise ValueError(
                f"need n >= 1, frames >= 1, size >= 8 (pixels) and fps > 0, got {n}, {frames}, {size} and {fps}"
            )
        if frames / fps > 1:
            raise ValueError(f"a film of a fast shape has a second at most, got {frames} frames at {fps:g} a second")
        if (held_out := tuple(pair)) not in PAIRS:
            raise ValueError(f"pair is one of {SHAPES} and one of {tuple(COLOURS)}, got {held_out}")
        self.n, self.frames, self.side, self.fps, self.seed = n, frames, size, fps, seed
        fours = {(*pair, *WAYS[3 * i % len(WAYS)]): "four" for i, pair in enumerate(PAIRS)}
        self.unlearned = fours | {(*held_out, *way): "pair" for way in WAYS}
        self.fields = {"caption": TEXT} if caption else self.known()

    def __len__(self) -> int:
        return self.n

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        shape, colour, pace, direction = COMBINATIONS[index % len(COMBINATIONS)]
        chance = stream(self.seed, index, Purpose.DATA) if rng is None else rng
        radius, way = chance.uniform(*RADIUS), np.array(DIRECTIONS[direction])
        path = chance.uniform(*PACES[pace]) / self.fps * np.arange(self.frames)[:, None] * way
        low, high = radius - path.min(0), 1 - radius - path.max(0)
        start = chance.uniform(low, np.maximum(low, high))
        frames = [render(shape, colour, centre, radius, self.side) for centre in start + path]
        return torch.from_numpy(np.stack(frames, 1)), conditioning(self.column(index), self.fields)

    def name(self, index: int) -> str:
        return f"film-{index:05d}"

    def column(self, index: int) -> dict[str, Label]:
        kinds, turn = COMBINATIONS[index % len(COMBINATIONS)], index // len(COMBINATIONS)
        truth = dict(zip(("shape", "colour", "pace", "direction"), kinds, strict=True))
        part = self.unlearned.get(kinds) or ("seen" if turn % VAL_EVERY == VAL_EVERY - 1 else "train")
        return {**truth, "caption": worded(truth, FORMS[0]), "part": part}

    def captions(self, index: int) -> dict[str, list[str]]:
        if "caption" not in self.fields:
            return {}
        truth = self.column(index)
        return {"caption": [worded(truth, form) for form in FORMS]}

    def known(self) -> Fields:
        return {"shape": SHAPES, "colour": tuple(COLOURS), "pace": tuple(PACES), "direction": tuple(DIRECTIONS)}

    def report(self) -> dict:
        return {"made": self.n, "seed": self.seed, "skipped": []}


def worded(truth: Mapping[str, Label], form: str) -> str:
    """A caption."""
    way = str(truth["direction"])
    return form.format(**{**truth, "direction": f"{way}wards" if way in ("up", "down") else f"to the {way}"})


def read_caption(caption: str) -> dict[str, str]:
    """What a caption tells; ``ValueError`` where it does not tell all four."""
    words = caption.lower().replace("upwards", "up").replace("downwards", "down").replace(",", " ").replace(":", " ")
    kinds = {"shape": SHAPES, "colour": COLOURS, "pace": PACES, "direction": DIRECTIONS}
    named = {name: [value for value in values if value in words.split()] for name, values in kinds.items()}
    if wrong := [name for name, found in named.items() if len(found) != 1]:
        raise ValueError(f"the caption {caption!r} tells no {wrong[0]}, or several")
    return {name: found[0] for name, found in named.items()}
