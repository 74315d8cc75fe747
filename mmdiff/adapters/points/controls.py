"""Maps of point clouds: a point is told a part of itself."""

from typing import Literal

from torch import Tensor

from ..controls import Control

AXES = ("x", "y", "z")


class Shadow(Control):
    """Where each point is as seen along ``axis``: a flat picture of a shape, of which a model makes the depth."""

    width = 2

    def __init__(self, channels: int = 3, *, axis: Literal["x", "y", "z"] = "z"):
        if axis not in AXES:
            raise ValueError(f"axis is x, y or z, got {axis!r}")
        self.kept = [i for i, name in enumerate(AXES) if name != axis]

    def __call__(self, features: Tensor, latents: Tensor) -> Tensor:
        return latents[:, self.kept]
