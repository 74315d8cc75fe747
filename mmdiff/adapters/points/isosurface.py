"""Where a field on a grid crosses a level, as a closed mesh: marching tetrahedra (Doi & Koide 1991).

Every cube is cut along its diagonal into six tetrahedra, one for each order of the axes, alike in all cubes, so that
neighbours agree on every face. A tetrahedron with 1 or 3 corners inside gives a triangle, with 2 a quadrilateral, its
corners where the edges cross the level:  p = p_u + (level - f_u) / (f_v - f_u) (p_v - p_u).
"""

from itertools import permutations

import numpy as np


def isosurface(field: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices ``(n, 3)`` in cells of the grid and faces ``(m, 3)``, normals towards lower values.

    The mesh is watertight where ``field`` ``(X, Y, Z)`` is below ``level`` all over its border.
    """
    inside = (field > level).ravel()
    corners = _tetrahedra(field.shape, inside)                        # (T, 4) positions in the flat field
    order = np.argsort(~inside[corners], axis=1, kind="stable")
    corners = np.take_along_axis(corners, order, 1)                   # those inside come first
    count = inside[corners].sum(1)
    parts, directions = [], []
    for number, triangles in (
        (1, [[(0, 1), (0, 2), (0, 3)]]),
        (2, [[(0, 2), (0, 3), (1, 3)], [(0, 2), (1, 3), (1, 2)]]),
        (3, [[(0, 3), (1, 3), (2, 3)]]),
    ):
        part = corners[count == number]
        positions = _positions(part, field.shape)
        direction = positions[:, number:].mean(1) - positions[:, :number].mean(1)
        for triangle in triangles:
            parts.append(part[:, np.array(triangle)])                 # (T', 3, 2)
            directions.append(direction)
    edges, outward = np.concatenate(parts), np.concatenate(directions)
    pairs, faces = np.unique(np.sort(edges.reshape(-1, 2), 1), axis=0, return_inverse=True)
    value = field.ravel()[pairs]
    fraction = (level - value[:, :1]) / (value[:, 1:] - value[:, :1])
    ends = _positions(pairs, field.shape)
    vertices = ends[:, 0] + fraction * (ends[:, 1] - ends[:, 0])
    faces = faces.reshape(-1, 3)
    a, b, c = vertices[faces].swapaxes(0, 1)
    inward = (np.cross(b - a, c - a) * outward).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    return vertices, faces


def _tetrahedra(shape: tuple[int, ...], inside: np.ndarray) -> np.ndarray:
    """Corners ``(T, 4)`` of the tetrahedra that have some corners inside and some not."""
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    grid = np.arange(inside.size).reshape(shape)[:-1, :-1, :-1].ravel()
    cube = np.array([(i >> 2 & 1, i >> 1 & 1, i & 1) for i in range(8)]) @ strides
    corners_inside = inside[grid[:, None] + cube].sum(1)
    grid = grid[(corners_inside > 0) & (corners_inside < 8)]
    paths = np.array([[0, *np.cumsum(strides[list(axes)])] for axes in permutations(range(3))])
    corners = (grid[:, None, None] + paths).reshape(-1, 4)
    corners_inside = inside[corners].sum(1)
    return corners[(corners_inside > 0) & (corners_inside < 4)]


def _positions(index: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Flat positions ``(...)`` to coordinates ``(..., 3)``."""
    return np.stack(np.unravel_index(index, shape), -1).astype(np.float64)
