"""Points of surfaces, and which of them can be seen.

    face     with probability area_f / sum area
    point    (1 - sqrt u) a + sqrt u (1 - v) b + sqrt u v c,         u, v ~ U(0, 1)     (Turk 1990)
    seen     from a viewpoint at the origin iff on the convex hull of {p'} and the origin,
             p' = p + 2 (R - |p|) p / |p|                            (Katz, Tal & Basri 2007, eq. 1)
"""

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from .files import Geometry, triangle_areas

VIEWS = 24
"""Directions from which a shape is looked at to find what can be seen of it at all."""
DISTANCE = 8.0
"""Of a viewpoint from the centre, in radii of the shape."""
FLIP = 2.3
"""log10 of R against the farthest point: more sees more, and through thin walls; less misses hollows."""


def sample_surface(shape: Geometry, count: int, rng: np.random.Generator) -> Geometry:
    """``count`` points of a mesh, evenly over its area: normals of the faces, colours between those of the corners."""
    if shape.faces is None:
        raise ValueError("a cloud has no surface to take points of")
    cumulated = triangle_areas(shape.points, shape.faces).cumsum()
    chosen = np.searchsorted(cumulated, rng.random(count) * cumulated[-1], side="right")
    corners = shape.faces[np.minimum(chosen, len(cumulated) - 1)]     # (count, 3)
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - u, u * (1 - v), u * v], 1)

    def between(values: np.ndarray) -> np.ndarray:
        return np.einsum("nk,nkc->nc", weights, values[corners])

    a, b, c = shape.points[corners].swapaxes(0, 1)
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(np.finfo(float).tiny)
    return Geometry(between(shape.points), None, normals, None if shape.colors is None else between(shape.colors))


def directions(count: int) -> np.ndarray:
    """``(count, 3)`` of length 1, even over the sphere: a Fibonacci lattice (Gonzalez 2010)."""
    i = np.arange(count) + 0.5
    y, turn = 1 - 2 * i / count, np.pi * (1 + np.sqrt(5)) * i
    radius = np.sqrt(1 - y**2)
    return np.stack([radius * np.cos(turn), y, radius * np.sin(turn)], 1)


def one_sided(points: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Which of ``(n, 3)`` a scanner sees that looks from ``direction`` ``(3,)`` at their centre: ``(n,)`` bool."""
    direction = np.asarray(direction, np.float64)
    length = np.linalg.norm(direction)
    if not length > 0:
        raise ValueError(f"direction is a vector that is not zero, got {direction}")
    centred = points - (points.min(0) + points.max(0)) / 2
    from_eye = centred - DISTANCE * np.linalg.norm(centred, axis=1).max() * direction / length
    away = np.linalg.norm(from_eye, axis=1, keepdims=True)
    flipped = from_eye + 2 * (10**FLIP * away.max() - away) * from_eye / away
    try:
        hull = ConvexHull(np.concatenate([flipped, np.zeros((1, 3))])).vertices
    except QhullError:
        return np.ones(len(points), bool)                             # all in one plane: nothing hides anything
    seen = np.zeros(len(points) + 1, bool)
    seen[hull] = True
    return seen[:-1]


def seen_first(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An order of ``(n, 3)``: those that a scanner at a random side sees come first, else at random."""
    order = rng.permutation(len(points))
    seen = one_sided(points, rng.standard_normal(3))[order]
    return np.concatenate([order[seen], order[~seen]])


def visible(points: np.ndarray, views: np.ndarray | int = VIEWS) -> np.ndarray:
    """Which of ``(n, 3)`` are seen from any of ``views`` ``(v, 3)``, or from so many all around: ``(n,)`` bool."""
    views = directions(views) if isinstance(views, int) else views
    return np.any([one_sided(points, view) for view in views], axis=0)
