"""Bouncing shapes made by code, with known truth: class = shape and colour, scalar = speed.

    centre(t) = fold(start + velocity t),     fold reflects at the walls, a radius away from the edge

A pixel is the share of it that the shape covers, from the distance to the shape's outline: motion is smooth below one
pixel, so that speed can be measured back.
"""

import numpy as np
import torch
from torch import Tensor

from ...core.rng import Purpose, stream
from ...data.dataset import Dataset
from ...data.labels import Label

SHAPES = ("disc", "square", "triangle")
COLOURS = {"red": (1.0, -0.7, -0.7), "green": (-0.7, 0.8, -0.7), "blue": (-0.6, -0.3, 1.0), "yellow": (1.0, 0.9, -0.7)}
BACKGROUND = -0.8
"""Grey of the background, in [-1, 1]."""
RADIUS = (0.17, 0.23)
"""Shares of the frame's shorter side."""
SPEED = (0.4, 1.4)
"""Shorter sides per second."""


class Shapes(Dataset):
    """``n`` clips ``(3, frames, size, size)`` in [-1, 1] at ``fps`` frames per second; start and direction are random.

    With an ``rng`` start, direction and radius of a read are new, otherwise fixed by (``seed``, index).
    """

    def __init__(
        self, reader: object = None, *, n: int = 2400, frames: int = 8, size: int = 32, fps: float = 8.0, seed: int = 0
    ):
        if n < 1 or frames < 1 or size < 8 or fps <= 0:
            raise ValueError(
                f"need n >= 1, frames >= 1, size >= 8 (pixels) and fps > 0, got {n}, {frames}, {size} and {fps}"
            )
        self.n, self.frames, self.side, self.fps, self.seed = n, frames, size, fps, seed
        self.inferred = {"fps": fps}
        self.fields = {"shape": SHAPES, "colour": tuple(COLOURS), "speed": SPEED}

    def __len__(self) -> int:
        return self.n

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        sample_rng = stream(self.seed, index, Purpose.DATA)
        (shape, colour, speed), chance = self._motif(index, sample_rng), sample_rng if rng is None else rng
        radius = chance.uniform(*RADIUS)
        path = bounce(
            chance.uniform(radius, 1 - radius, 2), speed / self.fps, chance.uniform(0, 2 * np.pi),
            frames=self.frames, radius=radius,
        )
        frames = [render(shape, colour, centre, radius, self.side) for centre in path]
        return torch.from_numpy(np.stack(frames, 1)), {"shape": shape, "colour": colour, "speed": speed}

    def name(self, index: int) -> str:
        return f"shape-{index:05d}"

    def column(self, index: int) -> dict[str, Label]:
        shape, colour, speed = self._motif(index, stream(self.seed, index, Purpose.DATA))
        return {"shape": shape, "colour": colour, "speed": speed}

    def report(self) -> dict:
        return {"made": self.n, "seed": self.seed, "skipped": []}

    def _motif(self, index: int, sample_rng: np.random.Generator) -> tuple[str, str, float]:
        shape, colour = SHAPES[index % len(SHAPES)], tuple(COLOURS)[index // len(SHAPES) % len(COLOURS)]
        return shape, colour, float(sample_rng.uniform(*SPEED))


def bounce(start: np.ndarray, step: float, angle: float, *, frames: int, radius: float) -> np.ndarray:
    """Centres ``(frames, 2)`` as (y, x) in [0, 1], ``step`` sides a frame, reflected at ``radius`` from each wall."""
    room = 1 - 2 * radius
    travelled = start - radius + step * np.arange(frames)[:, None] * np.array([np.sin(angle), np.cos(angle)])
    return radius + room - np.abs(travelled % (2 * room) - room)


def coverage(shape: str, centre: np.ndarray, radius: float, size: int) -> np.ndarray:
    """``(size, size)`` in [0, 1]: how much of each pixel is covered. ``centre`` (y, x) and ``radius`` in sides."""
    grid = (np.arange(size) + 0.5) / size
    y, x = grid[:, None] - centre[0], grid[None] - centre[1]
    if shape == "disc":
        distance = np.hypot(y, x) - radius
    elif shape == "square":
        distance = np.maximum(abs(y), abs(x)) - 0.9 * radius
    elif shape == "triangle":                                         # its centroid is the centre
        slope = np.sqrt(3) / 2
        distance = np.maximum(y - radius / 1.8, slope * abs(x) - y / 2 - radius / 1.8)
    else:
        raise ValueError(f"no shape {shape!r}; there are {', '.join(SHAPES)}")
    return np.clip(0.5 - distance * size, 0, 1).astype(np.float32)


def render(shape: str, colour: str, centre: np.ndarray, radius: float, size: int) -> np.ndarray:
    """One frame ``(3, size, size)`` in [-1, 1]."""
    inside = coverage(shape, centre, radius, size)
    return BACKGROUND + inside * (np.array(COLOURS[colour], dtype=np.float32)[:, None, None] - BACKGROUND)
