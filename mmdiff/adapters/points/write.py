"""Clouds to files that people can open.

    .ply .pcd   packed, all channels      .npz  arrays points, normals, colors (0 to 1), extra
    .xyz        text, all channels, named in a comment      .obj .glb  places and colours

Every file is read again before it gets its name: some libraries write an empty one without a word.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from torch import Tensor

from .files import Geometry, parse

SUFFIXES = (".ply", ".glb", ".obj", ".xyz", ".npz", ".pcd")
MESH_SUFFIXES = (".ply", ".glb", ".obj", ".stl", ".off")
SURFACES = {".stl": "triangles", ".off": "faces", ".gltf": "its data in other files"}


def write_points(sample: Tensor, path: str | Path, *, normals: bool = False, colors: bool = False) -> Path:
    """Write ``(C, N)``, of which channels 3 on are the normal and the colour in [-1, 1] if there, then other features.

    Normals are written with length 1, colours limited to [-1, 1]. The ending picks the format. The file appears under
    its name only when it is complete. Raises ``ValueError`` for NaN, an unknown ending, or a file that lacks points.
    """
    path, suffix = Path(path), Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        reason = f": it holds {SURFACES[suffix]}, a cloud has none" if suffix in SURFACES else ""
        raise ValueError(f"cannot write points as {suffix!r}{reason}; there are {' '.join(SUFFIXES)}")
    shape = _shape(sample, normals, colors, path)
    writers = {".ply": _ply, ".pcd": _pcd, ".xyz": _xyz, ".npz": _npz}

    def write(partial: Path) -> None:
        if suffix in writers:
            writers[suffix](shape, partial)
        else:
            _exported(shape, partial)

    def check(back: Geometry) -> bool:
        return back.points.shape == shape.points.shape and np.allclose(back.points, shape.points, rtol=1e-5, atol=1e-6)

    return _atomic(path, write, check)


def write_mesh(mesh: trimesh.Trimesh, path: str | Path) -> Path:
    """Write a surface as .ply, .glb, .obj, .stl or .off, checked and atomic as points are."""
    path = Path(path)
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise ValueError(f"cannot write a mesh as {path.suffix!r}; there are {' '.join(MESH_SUFFIXES)}")
    if len(mesh.faces) == 0 or not np.isfinite(mesh.vertices).all():
        raise ValueError(f"{path} is not written: the mesh has no faces, or vertices that are NaN or infinite")
    return _atomic(path, mesh.export, lambda back: back.faces is not None and len(back.faces) == len(mesh.faces))


def _atomic(path: Path, write: Callable[[Path], object], check: Callable[[Geometry], bool]) -> Path:
    partial = path.with_name(f".{path.stem}.{os.getpid()}.writing{path.suffix.lower()}")
    try:
        write(partial)
        if not check(parse(partial)):
            raise ValueError(f"{path} is not written: read again, it does not hold what was to be written")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _shape(sample: Tensor, normals: bool, colors: bool, path: Path) -> Geometry:
    x = sample.detach().float().cpu()
    known = 3 + 3 * normals + 3 * colors
    if x.ndim != 2 or x.shape[0] < known or x.shape[1] == 0:
        raise ValueError(f"a cloud to write is (C, N), C at least {known} and N at least 1; got {tuple(sample.shape)}")
    if not torch.isfinite(x).all():
        raise ValueError(f"{path} is not written: the cloud holds NaN or infinite values")
    rows = x.T.numpy()
    normal = rows[:, 3:6] / np.linalg.norm(rows[:, 3:6], axis=1, keepdims=True).clip(1e-12) if normals else None
    color = rows[:, known - 3 : known].clip(-1, 1) if colors else None
    return Geometry(rows[:, :3], None, normal, color, rows[:, known:] if rows.shape[1] > known else None)


def _bytes(colors: np.ndarray) -> np.ndarray:
    return ((colors + 1) * 127.5).round().astype(np.uint8)


def _table(shape: Geometry) -> np.ndarray:
    """A structured array, a field a column."""
    columns = dict(zip("xyz", shape.points.T, strict=True))
    if shape.normals is not None:
        columns |= dict(zip(("nx", "ny", "nz"), shape.normals.T, strict=True))
    if shape.colors is not None:
        columns |= dict(zip(("red", "green", "blue"), _bytes(shape.colors).T, strict=True))
    if shape.extra is not None:
        columns |= {f"f{i}": column for i, column in enumerate(shape.extra.T)}
    table = np.empty(len(shape.points), [(name, "u1" if c.dtype == np.uint8 else "<f4") for name, c in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return table


def _ply(shape: Geometry, path: Path) -> None:
    table = _table(shape)
    kinds = {1: "uchar", 4: "float"}
    columns = "".join(f"property {kinds[table.dtype[name].itemsize]} {name}\n" for name in table.dtype.names or ())
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(table)}\n{columns}end_header\n"
    path.write_bytes(header.encode() + table.tobytes())


def _pcd(shape: Geometry, path: Path) -> None:
    table = _table(shape)
    names = table.dtype.names or ()
    sizes = [table.dtype[name].itemsize for name in names]
    words: dict[str, Sequence[object]] = {
        "VERSION": ["0.7"], "FIELDS": names, "SIZE": sizes, "TYPE": ["UF"[size == 4] for size in sizes],
        "COUNT": [1] * len(sizes), "WIDTH": [len(table)], "HEIGHT": [1], "VIEWPOINT": [0, 0, 0, 1, 0, 0, 0],
        "POINTS": [len(table)], "DATA": ["binary"],
    }
    header = "".join(f"{key} {' '.join(map(str, values))}\n" for key, values in words.items())
    path.write_bytes(header.encode() + table.tobytes())


def _xyz(shape: Geometry, path: Path) -> None:
    table = _table(shape)
    rows = np.stack([table[name].astype(np.float64) for name in table.dtype.names or ()], 1)
    np.savetxt(path, rows, fmt="%.9g", header=" ".join(table.dtype.names or ()))


def _npz(shape: Geometry, path: Path) -> None:
    parts = {"points": shape.points, "normals": shape.normals, "extra": shape.extra}
    if shape.colors is not None:
        parts["colors"] = (shape.colors + 1) / 2
    arrays: dict[str, Any] = {name: part for name, part in parts.items() if part is not None}
    np.savez_compressed(path, **arrays)


def _exported(shape: Geometry, path: Path) -> None:
    """By trimesh: the geometry itself, never a scene of it."""
    trimesh.PointCloud(shape.points, None if shape.colors is None else _bytes(shape.colors)).export(path)
