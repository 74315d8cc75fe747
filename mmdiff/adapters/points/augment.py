"""Random copies of a shape that are as likely as the shape itself.

    x' = R S x + jitter,      n' = R S^-1 n / |S^-1 n|         S diagonal with factors of its own a axis, some negative

R turns about an axis of the coordinates or anywhere (uniform on SO(3): a normalised Gaussian quaternion), always about
the origin. ``jitter`` is in half sides of the shape's box, so it does not depend on the file's unit.
"""

from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from .files import Geometry

Turn = Literal["none", "x", "y", "z", "so3"]
TURNS = ("none", "x", "y", "z", "so3")
AXES = ("none", "x", "y", "z")


class Augmentation:
    """``rotate`` about an axis or by any rotation; ``scale`` (low, high) drawn for each axis alone; ``jitter`` the
    standard deviation of noise on the points; ``mirror`` the axis whose sign is turned for every other copy."""

    def __init__(self, *, rotate: Turn, scale: tuple[float, float], jitter: float, mirror: str):
        if rotate not in TURNS:
            raise ValueError(f"rotate is one of {', '.join(TURNS)}, got {rotate!r}")
        if mirror not in AXES:
            raise ValueError(f"mirror is one of {', '.join(AXES)}, got {mirror!r}")
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale is (low, high), positive and in order, such as [0.9, 1.1]; got {list(scale)}")
        if not 0 <= jitter < 1:
            raise ValueError(f"jitter is a share of the shape's half side, from 0 to below 1; got {jitter}")
        self.rotate, self.scale, self.jitter, self.mirror = rotate, (scale[0], scale[1]), jitter, mirror

    def __call__(self, shape: Geometry, rng: np.random.Generator) -> Geometry:
        """A new copy of a cloud; colours and other features stay."""
        factors = rng.uniform(*self.scale, 3) if self.scale[0] < self.scale[1] else np.full(3, self.scale[0])
        if self.mirror != "none" and rng.random() < 0.5:
            factors["xyz".index(self.mirror)] *= -1
        turn = rotation(self.rotate, rng)
        points, normals = shape.points * factors @ turn.T, shape.normals
        if normals is not None:
            normals = normals / factors @ turn.T
            normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(np.finfo(float).tiny)
        if self.jitter:
            points = points + self.jitter * np.ptp(points, 0).max() / 2 * rng.standard_normal(points.shape)
        return shape._replace(points=points, normals=normals)


def rotation(kind: Turn, rng: np.random.Generator) -> np.ndarray:
    """A random rotation ``(3, 3)``."""
    if kind == "none":
        return np.eye(3)
    if kind == "so3":
        return Rotation.from_quat(rng.standard_normal(4)).as_matrix()
    return Rotation.from_euler(kind, rng.uniform(0, 2 * np.pi)).as_matrix()
