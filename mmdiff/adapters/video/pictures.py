"""A contact sheet: each clip a row of its frames, many clips on one PNG."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from ...data.labels import drawn
from .write import pixels

LEAST = 64
"""Pixels of a frame's shorter side: smaller ones are enlarged by a whole factor."""
GAP = 2
"""Pixels between frames."""


def contact_sheet(
    samples: Sequence[Tensor], titles: Sequence[str], path: str | Path, *, frames: int = 8, columns: int = 1
) -> Path:
    """Write clips ``(C, T, H, W)`` in [-1, 1], of each ``frames`` that are evenly spaced, its title above."""
    if not len(samples) == len(titles) > 0:
        raise ValueError(f"need as many titles as clips, at least one; got {len(titles)} and {len(samples)}")
    strips = [strip(sample, frames) for sample in samples]
    columns = min(columns, len(strips))
    rows = math.ceil(len(strips) / columns)
    height, width = (max(s.shape[axis] for s in strips) for axis in (0, 1))
    figure = Figure(figsize=(columns * (width + 20) / 100, rows * (height + 22) / 100), dpi=100)
    FigureCanvasAgg(figure)
    for i, (picture, title) in enumerate(zip(strips, titles, strict=True)):
        row, column = divmod(i, columns)
        axis = figure.add_axes((
            (column * (width + 20) + 10) / (columns * (width + 20)),
            1 - (row * (height + 22) + 18 + picture.shape[0]) / (rows * (height + 22)),
            picture.shape[1] / (columns * (width + 20)), picture.shape[0] / (rows * (height + 22)),
        ))
        axis.imshow(picture, interpolation="nearest", aspect="auto")
        axis.set_axis_off()
        axis.set_title(drawn(title), fontsize=8, loc="left", pad=3)
    figure.savefig(path, format="png")
    return Path(path)


def strip(sample: Tensor, frames: int) -> np.ndarray:
    """``frames`` evenly spaced frames side by side, ``(H, W, 3)`` uint8."""
    chosen = [round(i) for i in np.linspace(0, sample.shape[1] - 1, min(frames, sample.shape[1]))]
    factor = max(1, math.ceil(LEAST / min(sample.shape[-2:])))
    cells = pixels(sample[:, chosen]).repeat(factor, 1).repeat(factor, 2)
    cells = np.pad(cells, ((0, 0), (0, 0), (0, GAP), (0, 0)), constant_values=255)
    return np.concatenate(list(cells), axis=1)[:, :-GAP]
