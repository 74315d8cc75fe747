"""Solids made by code, with known truth: class = the kind of solid; proportions and size of each are drawn.

    lathe(r, y)   a profile of radii and heights turned about the y axis: ball, cylinder, cone, ring, lamp
    box(a, b)     the box between two corners; a table is five of them

y is up. The longest side is 2 before it is scaled, so that only shape tells the classes apart.
"""

import numpy as np
from torch import Tensor

from ...core.rng import Purpose, stream
from ...data.dataset import Dataset
from ...data.labels import Label
from .files import Geometry
from .reader import PointReader

SOLIDS = ("ball", "box", "cone", "cylinder", "lamp", "ring", "table")
SEGMENTS = 48
"""Corners of a circle: it deviates from round by 0.2 % of its radius."""


class Solids(Dataset):
    """``n`` solids with the field ``solid``; number i is fixed by (``seed``, i), its kind goes round.

    Points, channels and augmentation are the reader's: with an ``rng`` a read samples the surface anew.
    """

    def __init__(self, reader: PointReader, *, n: int = 2000, seed: int = 0):
        if n < 1:
            raise ValueError(f"n is the number of solids, at least 1; got {n}")
        if reader.colors or reader.extra or reader.visible_only:
            raise ValueError("solids have places and normals alone: no colours, no extra, no visible_only")
        self.reader, self.n, self.seed = reader, n, seed
        self.fields = {"solid": list(SOLIDS)}

    def __len__(self) -> int:
        return self.n

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        shape = solid(self._kind(index), stream(self.seed, index, Purpose.DATA))
        return self.reader.sample(shape, rng, name=self.name(index)), self.column(index)

    def name(self, index: int) -> str:
        return f"solid-{index:05d}"

    def column(self, index: int) -> dict[str, Label]:
        return {"solid": self._kind(index)}

    def _kind(self, index: int) -> str:
        return SOLIDS[index % len(SOLIDS)]

    def report(self) -> dict:
        return {"made": self.n, "seed": self.seed, "skipped": []}


def solid(kind: str, rng: np.random.Generator) -> Geometry:
    """One solid as a closed mesh, its box centred, its longest side 2; ``rng`` draws its proportions."""
    u = rng.uniform(size=4)
    if kind == "ball":
        angle = np.linspace(0, np.pi, SEGMENTS // 2 + 1)
        shape = lathe(np.sin(angle), -(0.7 + 0.6 * u[0]) * np.cos(angle))
    elif kind == "box":
        shape = box(-(0.35 + 0.65 * u[:3]), 0.35 + 0.65 * u[:3])
    elif kind == "cone":
        shape = lathe(np.array([0, 0.5 + 0.5 * u[0], 0]), np.array([-1, -1, 1]))
    elif kind == "cylinder":
        radius = 0.25 + 0.75 * u[0]
        shape = lathe(np.array([0, radius, radius, 0]), np.array([-1, -1, 1, 1]))
    elif kind == "ring":
        angle, thick = np.linspace(0, 2 * np.pi, SEGMENTS // 2 + 1), 0.12 + 0.2 * u[0]
        shape = lathe(1 - thick - thick * np.cos(angle), -thick * np.sin(angle))
    elif kind == "lamp":
        foot, pole, wide, narrow = 0.3 + 0.15 * u[0], 0.04, 0.4 + 0.25 * u[1], 0.15 + 0.15 * u[2]
        rim = 0.1 + 0.3 * u[3]
        shape = joined(
            lathe(np.array([0, foot, foot, pole, pole, 0]), np.array([-1, -1, -0.92, -0.92, rim, rim])),
            lathe(np.array([wide, narrow]), np.array([rim, 1])),
        )
    elif kind == "table":
        half, leg = np.array([0.6 + 0.4 * u[0], 0.4 + 0.6 * u[1], 0.6 + 0.4 * u[2]]), 0.06 + 0.08 * u[3]
        under = half[1] - 0.12
        legs = [
            box(np.array([x, -half[1], z]), np.array([x + leg, under, z + leg]))
            for x in (-half[0], half[0] - leg) for z in (-half[2], half[2] - leg)
        ]
        shape = joined(box(np.array([-half[0], under, -half[2]]), half), *legs)
    else:
        raise ValueError(f"no solid {kind!r}; there are {', '.join(SOLIDS)}")
    low, high = shape.points.min(0), shape.points.max(0)
    return shape._replace(points=(shape.points - (low + high) / 2) * (2 / (high - low).max()))


def lathe(radius: np.ndarray, height: np.ndarray) -> Geometry:
    """The surface of a profile ``(k,)``, ``(k,)`` turned about the y axis; it is closed where the profile is."""
    turn = 2 * np.pi * np.arange(SEGMENTS) / SEGMENTS
    circle = np.stack([np.cos(turn), np.zeros(SEGMENTS), np.sin(turn)], 1)
    points = radius[:, None, None] * circle + height[:, None, None] * np.array([0, 1, 0])
    i, j = np.meshgrid(np.arange(len(radius) - 1), np.arange(SEGMENTS), indexing="ij")
    a, b = i * SEGMENTS + j, i * SEGMENTS + (j + 1) % SEGMENTS
    faces = np.stack([np.stack([a, a + SEGMENTS, b], -1), np.stack([b, a + SEGMENTS, b + SEGMENTS], -1)])
    return Geometry(points.reshape(-1, 3), faces.reshape(-1, 3))


def box(low: np.ndarray, high: np.ndarray) -> Geometry:
    """The box between two corners ``(3,)``; normals point outwards."""
    corner = np.array([(i >> 2 & 1, i >> 1 & 1, i & 1) for i in range(8)])
    quads = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
    return Geometry(np.where(corner, high, low), np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))


def joined(*shapes: Geometry) -> Geometry:
    """Meshes as one; where they touch, both surfaces stay."""
    starts = np.cumsum([0, *(len(shape.points) for shape in shapes[:-1])])
    faces = [shape.faces + start for shape, start in zip(shapes, starts, strict=True)]
    return Geometry(np.concatenate([shape.points for shape in shapes]), np.concatenate(faces))
