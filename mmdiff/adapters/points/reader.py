"""Shapes of any file to clouds of one size.

    mesh    ``points`` samples, even over its area
    cloud   ``points`` of its points, none twice

With an ``rng`` they are new for each read and augmented; without, they are fixed by the file's name.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...core.rng import Purpose, stream
from ...data.reader import Advice
from ..base import Reader
from .advice import recipe
from .augment import Augmentation, Turn
from .cache import RecentShapes
from .files import DISTINCT, SUFFIXES, Geometry, companions, load_shape
from .sampling import sample_surface, seen_first, visible

POOL = 4
"""Points of a mesh that are tried for visibility, for each that is read."""
FARTHEST = 1e4
"""Of a shape from the origin, in its own half sides: beyond, float32 moves points by more than 1e-3 of a half side."""


class PointReader(Reader):
    """Files to ``(C, points)`` float32: x y z, then normals, colours in [-1, 1], ``extra`` columns, as asked for.

    ``visible_only`` leaves out what cannot be seen from outside, such as the inside of a car; its hidden-point removal
    is done once a file, and reads draw from what it left. ``rotate``, ``scale``, ``jitter`` and ``mirror`` augment
    (``Augmentation``). ``scan`` puts first the points that a scanner at a random side sees: where training gives the
    first ones (``Given``), it learns to complete scans. ``cache`` bounds the points and faces kept in memory by each
    worker.
    """

    suffixes = SUFFIXES
    incidental = ("cache",)
    by_name = True

    def __init__(
        self, *, points: int = 2048, normals: bool = False, colors: bool = False, extra: int = 0,
        visible_only: bool = False, rotate: Turn = "none", scale: tuple[float, float] = (1.0, 1.0),
        jitter: float = 0.0, mirror: str = "none", scan: bool = False, cache: int = 5_000_000,
    ):
        if points < DISTINCT or extra < 0 or cache < 0:
            raise ValueError(f"need points >= {DISTINCT}, extra >= 0 and cache >= 0, got {points}, {extra} and {cache}")
        self.points, self.normals, self.colors, self.extra = points, normals, colors, extra
        self.visible_only, self.scan = visible_only, scan
        self.augmentation = Augmentation(rotate=rotate, scale=scale, jitter=jitter, mirror=mirror)
        self._recent = RecentShapes(cache)

    def read(self, path: Path, rng: np.random.Generator | None = None) -> Tensor:
        """One cloud ``(C, points)``. Raises ``ValueError`` for a file that is unusable or holds too few points."""
        path = Path(path)
        return self.sample(self._recent.get(path, self._open), rng, name=path.name)

    def misfit(self, path: Path, other: Path) -> str | None:
        first, second = (self._recent.get(file, self._open) for file in (path, other))
        if self.scan or self.visible_only:
            return "has an order of its own by adapter.reader.scan and visible_only: leave them out"
        if first.faces is not None or second.faces is not None or len(first.points) != len(second.points):
            return ("is no cloud of as many points as its sample, in the same order, as which a map of points has to "
                    "lie beside them")
        return None

    def beside(self, path: Path, other: Path, rng: np.random.Generator | None = None) -> Tensor:
        return self.sample(self._recent.get(other, self._open), rng, name=path.name)

    def files(self, path: Path) -> list[Path]:
        return [path, *companions(path)]

    def advice(self, paths: Sequence[Path], *, count: int, small: bool) -> list[Advice]:
        return recipe(paths, count=count, small=small)

    def sample(self, shape: Geometry, rng: np.random.Generator | None = None, *, name: str) -> Tensor:
        """``(C, points)`` of a shape at hand; without ``rng``, ``name`` fixes the choice."""
        chance = fixed(name) if rng is None else rng
        if shape.faces is not None:
            cloud = sample_surface(shape, self.points, chance)
        elif len(shape.points) >= self.points:
            cloud = shape.rows(chance.permutation(len(shape.points))[: self.points])
        else:
            seen = " that can be seen" if self.visible_only else ""
            raise ValueError(
                f"{name} holds {len(shape.points)} points{seen}, fewer than the {self.points} of adapter.reader.points"
            )
        if rng is not None:
            cloud = self.augmentation(cloud, rng)
        if self.scan:
            cloud = cloud.rows(seen_first(cloud.points, chance))
        return self.channels(cloud, name=name)

    def channels(self, cloud: Geometry, *, name: str) -> Tensor:
        """All points of a cloud as ``(C, N)``. Raises ``ValueError`` for a channel that it lacks."""
        center = (cloud.points.min(0) + cloud.points.max(0)) / 2
        half = np.ptp(cloud.points, 0).max() / 2
        if np.abs(center).max() > FARTHEST * half:
            raise ValueError(
                f"{name} is {np.abs(center).max():.3g} from the origin but only {2 * half:.3g} wide, which float32 "
                "cannot resolve: move it near the origin first"
            )
        parts = [cloud.points]
        for wanted, part, key in ((self.normals, cloud.normals, "normals"), (self.colors, cloud.colors, "colors")):
            if not wanted:
                continue
            if part is None:
                raise ValueError(f"{name} has no {key}: leave out such files, or set adapter.codec.{key}=false")
            parts.append(part)
        if self.extra:
            width = 0 if cloud.extra is None else cloud.extra.shape[1]
            if cloud.extra is None or width < self.extra:
                raise ValueError(f"{name} has {width} columns beside those known, adapter.codec.extra={self.extra}")
            parts.append(cloud.extra[:, : self.extra])
        return torch.from_numpy(np.concatenate(parts, 1, dtype=np.float32).T.copy())

    def _open(self, path: Path) -> Geometry:
        shape = load_shape(path, textures=self.colors)
        if not self.visible_only:
            return shape
        pool = shape if shape.faces is None else sample_surface(shape, POOL * self.points, fixed(path.name))
        return pool.rows(np.flatnonzero(visible(pool.points)))


def fixed(name: str) -> np.random.Generator:
    """The generator that a name stands for."""
    return stream(0, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]), Purpose.DATA)
