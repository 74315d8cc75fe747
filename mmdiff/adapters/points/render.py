"""Pictures of clouds without a GPU: every point a small lit ball, drawn from far to near.

    pixel offset d within a ball of radius r:   depth' = depth + r sqrt(1 - |d|^2 / r^2),   light = max(0, n . l)

The view is orthographic, and scaled by the farthest point from the box's centre: a turning shape keeps its size.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from ...data.labels import drawn

LIGHT = np.array([-0.4, 0.65, 0.65])
FINER = 2
"""Pixels drawn for each that is shown, along each axis."""
HAZE = 0.35
"""How much of the colour the farthest point loses."""


class Shown(NamedTuple):
    """A cloud to look at: ``points`` ``(3, N)``, ``colors`` ``(3, N)`` in [-1, 1], by height where None."""

    points: Tensor
    title: str = ""
    colors: Tensor | None = None


def picture(
    points: Tensor, *, colors: Tensor | None = None, size: int = 256, azimuth: float = 35.0, elevation: float = 20.0,
    up: str = "y",
) -> np.ndarray:
    """``(size, size, 3)`` uint8 of points ``(3, N)``; ``colors`` ``(3, N)`` in [-1, 1], by height where left out.

    ``azimuth`` and ``elevation`` are the camera's, in degrees; ``up`` is the axis that points up.
    """
    x = in_unit_ball(points, up)
    seen = camera(azimuth, elevation) @ x
    paint = painted(x[1], colors)
    fine = size * FINER
    radius = np.clip(0.55 * fine / math.sqrt(x.shape[1]), 1.5, fine / 24)
    canvas = _balls(seen, paint, radius, fine)
    small = canvas.reshape(size, FINER, size, FINER, 3).mean((1, 3))
    return (255 * small).round().astype(np.uint8)


def camera(azimuth: float, elevation: float) -> np.ndarray:
    """``(3, 3)``: rows are the camera's right, up and towards it, in degrees about a y axis that points up."""
    a, e = math.radians(azimuth), math.radians(elevation)
    toward = np.array([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])
    right = np.array([math.cos(a), 0.0, -math.sin(a)])
    return np.stack([right, np.cross(toward, right), toward])


def in_unit_ball(points: Tensor, up: str) -> np.ndarray:
    """``(3, N)`` float64, the second axis pointing up, the box centred, the farthest point at distance 1."""
    orders = {"x": [2, 0, 1], "y": [0, 1, 2], "z": [1, 2, 0]}
    if up not in orders:
        raise ValueError(f"up is one of x, y, z, got {up!r}")
    x = points.detach().cpu().numpy().astype(np.float64)
    if x.ndim != 2 or x.shape[0] != 3 or x.shape[1] == 0 or not np.isfinite(x).all():
        raise ValueError(f"a picture needs finite points (3, N), at least one; got {tuple(points.shape)}")
    x = x[orders[up]]
    x = x - (x.min(1, keepdims=True) + x.max(1, keepdims=True)) / 2
    return x / max(np.linalg.norm(x, axis=0).max(), 1e-12)


def painted(height: np.ndarray, colors: Tensor | None) -> np.ndarray:
    """``(N, 3)`` in [0, 1]: ``colors`` ``(3, N)`` in [-1, 1] if there are any, else by height ``(N,)``."""
    if colors is not None:
        return ((colors.detach().float().cpu().numpy().T + 1) / 2).clip(0, 1)
    return colormaps["viridis"](0.1 + 0.8 * (height - height.min()) / max(np.ptp(height), 1e-12))[:, :3]


def _balls(seen: np.ndarray, paint: np.ndarray, radius: float, size: int) -> np.ndarray:
    """``seen`` ``(3, N)`` in the unit ball, right, up and towards -> ``(size, size, 3)`` in [0, 1] on white."""
    reach = np.arange(-math.ceil(radius), math.ceil(radius) + 1)
    dx, dy = (d.ravel() for d in np.meshgrid(reach, reach))
    dx, dy = (d[dx**2 + dy**2 <= radius**2] for d in (dx, dy))
    dz = np.sqrt(radius**2 - dx**2 - dy**2)
    lit = 0.45 + 0.55 * ((np.stack([dx, dy, dz], 1) / radius) @ (LIGHT / np.linalg.norm(LIGHT))).clip(0)
    scale = size / 2 - radius - 2 * FINER
    column, row = (size / 2 + scale * seen[:2]).astype(int)
    depth = (scale * seen[2])[:, None] + dz                           # (N, K)
    haze = HAZE * (1 - seen[2]) / 2
    shade = paint * (1 - haze)[:, None] + haze[:, None]
    order = np.argsort(depth, axis=None, kind="stable")               # the nearest is written last
    point, offset = np.divmod(order, len(dz))
    canvas = np.ones((size, size, 3))
    canvas[size - 1 - (row[point] + dy[offset]), column[point] + dx[offset]] = shade[point] * lit[offset, None]
    return canvas


def sheet(
    shapes: Sequence[Shown], path: str | Path, *, columns: int = 6, size: int = 220, up: str = "y"
) -> Path:
    """Write one PNG of clouds, each in its own scale with its title above."""
    if not shapes:
        raise ValueError("a picture needs at least one cloud")
    columns = min(columns, len(shapes))
    rows, width, height = math.ceil(len(shapes) / columns), size, size + 18
    figure = Figure(figsize=(columns * width / 100, rows * height / 100), dpi=100)
    FigureCanvasAgg(figure)
    for i, shape in enumerate(shapes):
        row, column = divmod(i, columns)
        axis = figure.add_axes((column / columns, 1 - (row + 1) / rows, 1 / columns, size / (rows * height)))
        image = picture(shape.points, colors=shape.colors, size=size, up=up)
        axis.imshow(image, interpolation="nearest", aspect="auto")
        axis.set_axis_off()
        axis.set_title(drawn(shape.title), fontsize=8, pad=3)
    figure.savefig(path, format="png")
    return Path(path)
