"""Surfaces through the points of a cloud.

    "alpha"        the outside of all Delaunay tetrahedra whose circumsphere is smaller than alpha, and the triangles
                   in none of them whose smallest sphere is, and is empty: sharp and thin parts, some holes
                   (Edelsbrunner & Muecke 1994); alpha is ``reach`` times the points' usual spacing
    "density"      {x : sum_i exp(-|x - x_i|^2 / 2 s^2) = level}: always watertight, rounder and a little thicker;
                   s is half of ``reach`` spacings
    "ball_pivot"   a ball rolled over the points (Bernardini et al. 1999): parts that do not touch, by open3d, which
                   must be installed

The usual spacing is the median distance of a point from its sixth neighbour.
"""

from typing import Literal

import numpy as np
import trimesh
from scipy.ndimage import gaussian_filter
from scipy.spatial import Delaunay, QhullError, cKDTree
from torch import Tensor

from .isosurface import isosurface

METHODS = ("alpha", "density", "ball_pivot")
NEIGHBOUR = 6
REACH = {"alpha": 1.0, "density": 1.0, "ball_pivot": 1.5}
FINEST = 96
"""Cells of the density's grid along its longest side, at most."""


def surface(
    points: Tensor, *, method: Literal["alpha", "density", "ball_pivot"] = "alpha", reach: float | None = None
) -> trimesh.Trimesh:
    """A mesh through points ``(3, N)``, N at least 8.

    ``reach`` is how far the surface spans gaps, in spacings: more closes holes and fills narrow gaps. Raises
    ``ValueError`` for NaN, for points in one plane, and where a method finds no surface or is not installed.
    """
    if method not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}, got {method!r}")
    x = points.detach().cpu().numpy().astype(np.float64)
    if x.ndim != 2 or x.shape[0] != 3 or x.shape[1] < 8 or not np.isfinite(x).all():
        raise ValueError(f"a surface needs finite points (3, N), N at least 8; got {tuple(points.shape)}")
    reach = REACH[method] if reach is None else reach
    if not reach > 0:
        raise ValueError(f"reach is in spacings of the points, above 0; got {reach}")
    x = np.unique(x.T, axis=0)
    mesh = {"alpha": _alpha, "density": _density, "ball_pivot": _ball_pivot}[method](x, reach * spacing(x))
    if len(mesh.faces) == 0:
        raise ValueError(f"method={method} finds no surface at reach={reach:g}: raise reach")
    return mesh


def spacing(points: np.ndarray) -> float:
    """The median distance of ``(n, 3)`` from their sixth neighbours."""
    k = min(NEIGHBOUR, len(points) - 1) + 1
    return float(np.median(np.asarray(cKDTree(points).query(points, k=k)[0])[:, -1]))


def _alpha(points: np.ndarray, alpha: float) -> trimesh.Trimesh:
    try:
        tetrahedra = Delaunay(points).simplices
    except QhullError:
        raise ValueError("a surface needs points that do not all lie in one plane") from None
    solid = circumsphere(points[tetrahedra])[1] < alpha
    sides = np.sort(tetrahedra[:, [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]], axis=2)
    faces, inverse = np.unique(sides.reshape(-1, 3), axis=0, return_inverse=True)
    neighbours = np.bincount(inverse.ravel(), weights=solid.repeat(4))
    kept = np.concatenate([faces[neighbours == 1], _sheets(points, faces[neighbours == 0], alpha)])
    mesh = trimesh.Trimesh(points, kept, process=False)
    mesh.remove_unreferenced_vertices()
    mesh.fix_normals()
    return mesh


def _sheets(points: np.ndarray, faces: np.ndarray, alpha: float) -> np.ndarray:
    """Those of ``(m, 3)`` that are smaller than alpha with no point in their smallest sphere."""
    center, radius = circumsphere(points[faces])
    small = radius < alpha
    faces, center, radius = faces[small], center[small], radius[small]
    if len(faces) == 0:
        return faces
    nearest = cKDTree(points).query(center)[0]
    return faces[nearest > (1 - 1e-6) * radius]


def circumsphere(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Center ``(m, 3)`` and radius ``(m,)`` of triangles ``(m, 3, 3)`` or tetrahedra ``(m, 4, 3)``.

    The center c of simplex (0, e_1 .. e_k) solves 2 e_i . c = |e_i|^2 within the span of the e_i. Flat: infinite.
    """
    edges = corners[:, 1:] - corners[:, :1]
    gram = edges @ edges.swapaxes(1, 2)
    square = np.diagonal(gram, axis1=1, axis2=2)
    flat = np.linalg.det(gram) <= 1e-12 * square.prod(1)
    gram = np.where(flat[:, None, None], np.eye(edges.shape[1]), gram)
    center = np.einsum("mk,mkc->mc", np.linalg.solve(gram, square[..., None] / 2)[..., 0], edges)
    return corners[:, 0] + center, np.where(flat, np.inf, np.linalg.norm(center, axis=1))


def _density(points: np.ndarray, reach: float) -> trimesh.Trimesh:
    width = reach / 2
    low, span = points.min(0) - 4 * width, np.ptp(points, 0) + 8 * width
    cell = max(width / 1.2, span.max() / FINEST)
    width = max(width, 1.2 * cell)                                    # so that the grid can show it
    shape = np.ceil(span / cell).astype(int) + 1
    cells = np.rint((points - low) / cell).astype(int)
    grid = np.zeros(shape)
    np.add.at(grid, tuple(cells.T), 1.0)
    field = gaussian_filter(grid, width / cell, mode="constant")
    field[[0, -1]] = field[:, [0, -1]] = field[:, :, [0, -1]] = 0     # closed at the border
    level = np.median(field[tuple(cells.T)]) / 3
    vertices, faces = isosurface(field, level)
    return trimesh.Trimesh(low + cell * vertices, faces, process=False)


def _ball_pivot(points: np.ndarray, reach: float) -> trimesh.Trimesh:
    try:
        import open3d
    except ImportError as error:
        raise ValueError(
            f"method=ball_pivot needs open3d ({error}): pip install open3d-cpu, which needs libusb of the system; or "
            "take alpha or density, which need nothing"
        ) from error
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud.estimate_normals()
    cloud.orient_normals_consistent_tangent_plane(12)
    radii = open3d.utility.DoubleVector([0.5 * reach, reach, 2 * reach])
    mesh = open3d.geometry.TriangleMesh.create_from_point_cloud_ball_pivoting(cloud, radii)
    return trimesh.Trimesh(np.asarray(mesh.vertices), np.asarray(mesh.triangles), process=False)
