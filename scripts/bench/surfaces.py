"""How well a surface through sampled points matches the mesh they are from: ``surfaces.py FOLDER_OF_MESHES``.

    CD   mean squared distance from the original's points to the surface's, plus the reverse; unit: longest half side
    F    harmonic mean of the shares of points that have one of the other within 0.02
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree

from mmdiff.adapters.points.files import SUFFIXES, load_shape
from mmdiff.adapters.points.sampling import sample_surface
from mmdiff.adapters.points.surface import METHODS, surface

DENSE, MODELS = 20_000, 12


def scores(mesh: trimesh.Trimesh, original: np.ndarray) -> tuple[float, float]:
    """(CD, F) against points ``(n, 3)`` of the original."""
    points, _ = trimesh.sample.sample_surface(mesh, len(original), seed=0)
    there, back = cKDTree(points).query(original)[0], cKDTree(original).query(points)[0]
    precision, recall = (back < 0.02).mean(), (there < 0.02).mean()
    return (there**2).mean() + (back**2).mean(), 2 * precision * recall / max(precision + recall, 1e-12)


def main(folder: str) -> None:
    """Print the table over the first models of a folder."""
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix in SUFFIXES)[:MODELS]
    print(f"{len(paths)} models\n\n| method | points | CD, 1e-3 | F | watertight | faces | seconds |")
    print("|---|---|---|---|---|---|---|")
    for method in METHODS:
        for count in (2048, 4096):
            rows = []
            for path in paths:
                shape = load_shape(path)
                middle, half = (shape.points.min(0) + shape.points.max(0)) / 2, np.ptp(shape.points, 0).max() / 2
                rng = np.random.default_rng(0)
                original = (sample_surface(shape, DENSE, rng).points - middle) / half
                cloud = (sample_surface(shape, count, rng).points - middle) / half
                start = time.perf_counter()
                try:
                    mesh = surface(torch.from_numpy(cloud.T), method=method)
                except ValueError as error:
                    print(f"{method}: {error}")
                    break
                rows.append((*scores(mesh, original), mesh.is_watertight, len(mesh.faces), time.perf_counter() - start))
            if rows:
                cd, f, closed, faces, seconds = np.mean(rows, 0)
                print(f"| {method} | {count} | {1e3 * cd:.2f} | {f:.2f} | {closed:.0%} | {faces:.0f} | {seconds:.1f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
