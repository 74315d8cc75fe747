"""Measures generated bouncing shapes, whose truth is known: shape and colour, speed, and even motion.

    python -m mmdiff.adapters.video.score_shapes FOLDER

    (shape, colour, radius) = argmin |frame - render(shape, colour, centre, radius)|^2,     centre of what is not ground
    identity = share of frames of a clip seen as its commonest (shape, colour)

Real clips are measured in the same way, and say what the measuring itself costs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...data.progress import progress_bar
from ...metrics.bootstrap import bootstrap, median
from ...metrics.classify import proportion
from ...metrics.folder import generated, measure
from ...metrics.pairs import consistency
from ...metrics.rows import Row
from .index import VideoIndex
from .motion import acceleration, centres, speed
from .reader import read_clip
from .shapes import BACKGROUND, COLOURS, RADIUS, SHAPES, Shapes, render

REAL, LEAST = 96, 0.25
"""How many real clips are measured; differences from the background that count."""
RADII = np.linspace(*RADIUS, 5)


class MeasuredClip(NamedTuple):
    """A clip ``(3, T, size, size)``, the labels asked for, and the frame rate."""

    sample: Tensor
    labels: dict
    fps: float


class Seen(NamedTuple):
    """What was seen of ``(N,)`` clips, against what was asked for."""

    shape: Tensor
    colour: Tensor
    identity: Tensor
    speed_error: Tensor
    """Sides per second."""
    acceleration: Tensor
    """Sides a frame squared."""


def look(clips: Sequence[MeasuredClip]) -> Seen:
    """Measure each clip."""
    kinds = [(s, c) for s in SHAPES for c in COLOURS]
    values = []
    for clip in progress_bar(clips, "looking", unit="clip", leave=False):
        where = centres(clip.sample[None], background=BACKGROUND, least=LEAST)[0]
        frames = torch.tensor([
            nearest(frame.numpy(), centre.numpy(), kinds)
            for frame, centre in zip(clip.sample.transpose(0, 1), where, strict=True)
        ])
        shape, colour = kinds[int(frames.mode().values)]
        moved = speed(where[None]).item() * clip.fps
        values.append((
            shape == clip.labels["shape"], colour == clip.labels["colour"], consistency(frames[None]).item(),
            abs(moved - clip.labels["speed"]), acceleration(where[None]).item(),
        ))
    return Seen(*(torch.tensor(column) for column in zip(*values, strict=True)))


def nearest(frame: np.ndarray, centre: np.ndarray, kinds: Sequence[tuple[str, str]]) -> int:
    """Which of ``kinds`` (shape, colour), drawn at ``centre``, a frame ``(3, size, size)`` is like; -1 where empty."""
    if not np.isfinite(centre).all():
        return -1
    errors = [
        min(np.square(frame - render(shape, colour, centre, radius, len(frame[0]))).mean() for radius in RADII)
        for shape, colour in kinds
    ]
    return int(np.argmin(errors))


def summary(seen: Seen) -> Row:
    """One row of the report."""
    moving = seen.speed_error[seen.speed_error.isfinite()]
    even = seen.acceleration[seen.acceleration.isfinite()]
    return {
        "n": len(seen.shape),
        "shape": proportion(seen.shape),
        "colour": proportion(seen.colour),
        "identity kept": bootstrap(seen.identity, torch.mean),
        "speed error, median": bootstrap(moving, median) if len(moving) > 1 else "none",
        "acceleration, median": bootstrap(even, median) if len(even) > 1 else "none",
        "empty frames": len(seen.speed_error) - len(moving),
    }


def from_folder(folder: Path) -> list[MeasuredClip]:
    """Generated clips."""
    files = generated(folder, suffix=".mp4", fields=("shape", "colour", "speed"))
    clips = []
    for file in files:
        side = int(file.facts["size"]["height"])
        sample = read_clip(file.path, height=side, width=side)
        fps = sample.shape[1] / VideoIndex.of(file.path).seconds
        clips.append(MeasuredClip(sample, {**file.labels, "speed": float(file.labels["speed"])}, fps))
    return clips


def real(frames: int, size: int, fps: float) -> list[MeasuredClip]:
    """Clips made by code that training did not see."""
    data = Shapes(n=REAL, frames=frames, size=size, fps=fps, seed=2**40)
    return [MeasuredClip(*data.read(i), fps) for i in range(REAL)]


def report(folder: Path) -> dict[str, Row]:
    """Rows by name: clips made by code, and the generated ones."""
    clips = from_folder(folder)
    (frames, size), fps = clips[0].sample.shape[1:3], clips[0].fps
    return {"real": summary(look(real(frames, size, fps))), "generated": summary(look(clips))}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: print the table of a folder of generated clips."""
    return measure(report, arguments, name="video.score_shapes", about=__doc__, files="MP4")


if __name__ == "__main__":
    sys.exit(main())
