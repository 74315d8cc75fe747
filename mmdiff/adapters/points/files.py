"""Files of meshes and of points as one record.

    mesh    ply obj stl off glb gltf    every part of a scene at its place, polygons as triangles
    points  ply pcd xyz npz npy, obj and glb without faces

What a file leads to is data and nothing else: no array is unpickled, nothing is fetched. One that cannot be used is a
``ValueError`` with the reason.
"""

import io
import json
import re
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import trimesh
from trimesh.visual import ColorVisuals, TextureVisuals

from . import gltf
from .tables import Columns, decoded, pcd_columns, ply_columns, stated_columns, xyz_columns

SUFFIXES = (".ply", ".obj", ".stl", ".off", ".glb", ".gltf", ".xyz", ".npz", ".npy", ".pcd")
NORMALS = (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z"))
COLORS = (("red", "green", "blue"), ("r", "g", "b"))
IGNORED = ("x", "y", "z", "alpha", "a", "_")
BAD_INPUT = (
    ValueError, KeyError, IndexError, AssertionError, OSError, EOFError, OverflowError, struct.error, zlib.error,
    BadZipFile,
)
"""What parsers raise on bytes that are not of their format; anything else is a fault of the parser."""
DISTINCT = 4
"""Points that span a solid; a cloud of fewer is no shape."""


class Geometry(NamedTuple):
    """``points`` ``(n, 3)`` float64 in the file's unit; ``faces`` ``(m, 3)`` int64, None for a cloud.

    Of each point, if known: ``normals`` ``(n, 3)`` of length 1, ``colors`` ``(n, 3)`` in [-1, 1], ``extra`` ``(n, k)``.
    A mesh has its normals from its faces.
    """

    points: np.ndarray
    faces: np.ndarray | None = None
    normals: np.ndarray | None = None
    colors: np.ndarray | None = None
    extra: np.ndarray | None = None

    def rows(self, index: np.ndarray) -> "Geometry":
        """The points of a cloud at ``index``, as a cloud."""
        kept = (None if part is None else part[index] for part in (self.normals, self.colors, self.extra))
        return Geometry(self.points[index], None, *kept)


def load_shape(path: str | Path, *, textures: bool = False) -> Geometry:
    """A whole file; ``textures`` turns a mesh's materials and pictures into colours of its vertices.

    Raises ``ValueError`` for a file that is missing, empty, corrupt or of an unknown ending, that holds NaN, infinite
    or no points, a cloud of fewer than 4 distinct ones, or a mesh without area.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist or is no file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes)")
    try:
        shape = parse(path, textures=textures)
        _check(shape)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return shape


def companions(path: Path) -> list[Path]:
    """The files in its folder that one refers to: an OBJ's materials and their pictures, a glTF's buffers and pictures.
    """
    names: list[str] = []
    if path.suffix.lower() == ".gltf":
        try:
            scene = json.loads(path.read_bytes())
            names = [str(part.get("uri", "data:")) for kind in ("buffers", "images") for part in scene.get(kind, [])]
        except (AttributeError, TypeError):
            raise ValueError(f"{path} is JSON, but no glTF scene") from None
    elif path.suffix.lower() == ".obj":
        materials = _named(path, "mtllib")
        names = materials + [name for each in _there(path, materials) for name in _named(each, "map_")]
    return _there(path, names)


def _there(path: Path, names: Sequence[str]) -> list[Path]:
    found = []
    for name in dict.fromkeys(names):
        if not name.startswith("data:"):
            with suppress(ValueError, OSError):                       # what is elsewhere is not read
                found.append(gltf.beside(path.parent, name))
    return [other for other in found if other.is_file()]


def _named(path: Path, keyword: str) -> list[str]:
    """The last word of each line of a text file that starts with a keyword."""
    if not path.is_file():
        return []
    lines = (line.split() for line in decoded(path.read_bytes()).split("\n"))
    return [words[-1] for words in lines if len(words) > 1 and words[0].lower().startswith(keyword)]


def parse(path: Path, *, textures: bool = False) -> Geometry:
    """What a file holds, usable or not. Raises ``ValueError`` for bytes that are not of its format."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"the ending {suffix!r} is unknown; there are {' '.join(SUFFIXES)}")
    try:
        if suffix == ".xyz":
            return _cloud(xyz_columns(path))
        if suffix == ".pcd":
            return _cloud(pcd_columns(path))
        if suffix in (".npz", ".npy"):
            return _arrays(path)
        if suffix == ".ply" and (columns := ply_columns(path)) is not None:
            return _cloud(columns)
        return _scene(path, textures)
    except BAD_INPUT as error:
        raise ValueError(f"cannot be read as {suffix}: {str(error) or type(error).__name__}") from error
    except Exception as error:
        raise ValueError(
            f"mmdiff or trimesh {trimesh.__version__} fails on it ({type(error).__name__}: {error}): that is a fault "
            "of theirs, whether or not the file is whole"
        ) from error


def _check(shape: Geometry) -> None:
    points, faces = shape.points, shape.faces
    if len(points) == 0:
        raise ValueError("it holds no points")
    for name, part in zip(Geometry._fields, shape, strict=True):
        if part is not None and not np.isfinite(part).all():
            raise ValueError(f"its {name} hold NaN or infinite values")
    if faces is None:
        if len(np.unique(points[:1000], axis=0)) < DISTINCT > len(np.unique(points, axis=0)):
            raise ValueError(f"it holds fewer than {DISTINCT} distinct points")
    elif faces.min() < 0 or faces.max() >= len(points):
        raise ValueError(f"a face names point {faces.max()} of {len(points)}")
    elif not triangle_areas(points, faces).any():
        raise ValueError("its faces have no area")


def triangle_areas(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """``(m,)``: half the cross product of two sides."""
    a, b, c = points[faces].swapaxes(0, 1)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def _cloud(columns: Columns) -> Geometry:
    """Columns by name as a cloud; those of no known meaning are ``extra``, in their order."""
    if missing := [name for name in "xyz" if name not in columns]:
        raise ValueError(f"it has no column {' '.join(missing)}; there are {' '.join(columns) or 'none'}")
    normals = next((names for names in NORMALS if set(names) <= columns.keys()), ())
    colors = next((names for names in COLORS if set(names) <= columns.keys()), ())
    extra = [name for name in columns if name not in (*IGNORED, *normals, *colors)]

    def stacked(names: Sequence[str]) -> np.ndarray:
        return np.stack([columns[name] for name in names], 1)

    return _geometry(stacked("xyz"), *(stacked(names) if names else None for names in (normals, colors, extra)))


def _geometry(
    points: np.ndarray, normals: np.ndarray | None, colors: np.ndarray | None, extra: np.ndarray | None
) -> Geometry:
    if normals is not None:
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        normals = normals / np.where(length > 0, length, 1)
    extra = None if extra is None else extra.astype(np.float64)
    return Geometry(points.astype(np.float64), None, normals, None if colors is None else _signed(colors), extra)


def _signed(colors: np.ndarray) -> np.ndarray:
    """Colours to [-1, 1]: whole numbers span their type, real ones are 0 to 1, or 0 to 255 if any is above 1."""
    if np.issubdtype(colors.dtype, np.unsignedinteger):
        top = float(np.iinfo(colors.dtype).max)
    else:
        top = 1.0 if len(colors) == 0 or colors.max() <= 1 else 255.0
    signed = colors.astype(np.float64) * (2 / top) - 1
    if (np.abs(signed) > 1 + 1e-6).any():
        raise ValueError(f"its colours reach from {colors.min():g} to {colors.max():g}: not within 0 to 1 or 0 to 255")
    return signed.clip(-1, 1)


def _arrays(path: Path) -> Geometry:
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return _cloud(stated_columns(loaded))
    widths = {"points": 3, "normals": 3, "colors": 3, "extra": None}
    with loaded:
        if "points" not in loaded.files:
            raise ValueError(f"it has no array 'points'; there are {', '.join(loaded.files) or 'none'}")
        data = {name: loaded[name] for name in widths if name in loaded.files}
    for name, part in data.items():
        width = widths[name]
        if part.ndim != 2 or len(part) != len(data["points"]) or width not in (None, part.shape[1]):
            raise ValueError(
                f"{name} is (n, {width or 'k'}) for one cloud, got {part.shape}; many clouds in one file are read by "
                "data=clouds"
            )
    return _geometry(data["points"], data.get("normals"), data.get("colors"), data.get("extra"))


class _Beside(trimesh.resolvers.FilePathResolver):
    """Opens what a file refers to in its folder, and nothing else."""

    def get(self, name: str) -> bytes:
        return gltf.beside(Path(self.parent), name).read_bytes()


def _scene(path: Path, textures: bool) -> Geometry:
    suffix = path.suffix.lower()
    data = gltf.plain(path) if suffix in (".glb", ".gltf") else _utf8(path.read_bytes(), suffix)
    kind = ".gltf" if suffix == ".glb" and data is not None else suffix
    opened = io.BytesIO(path.read_bytes() if data is None else data)
    scene = trimesh.load_scene(
        opened, file_type=kind[1:], resolver=_Beside(str(path)), process=False, skip_materials=not textures
    )
    parts = scene.dump()
    meshes = [_mesh(part, textures) for part in parts if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    return _joined(meshes or [_bare(part) for part in parts if isinstance(part, trimesh.PointCloud)])


def _utf8(data: bytes, suffix: str) -> bytes | None:
    """A file whose comments or names trimesh cannot read, so that it can; None where there is nothing to do."""
    if suffix == ".stl" and len(data) >= 84 and len(data) == 84 + 50 * int.from_bytes(data[80:84], "little"):
        return None                                                   # packed, not text
    text, end, rest = data.partition(b"end_header") if suffix == ".ply" else (data, b"", b"")
    plain = decoded(text)
    if suffix == ".ply":                                              # the format comes second
        plain = "".join(sorted(re.split(r"(?<=\n)", plain), key=lambda line: line.startswith("comment")))
    return None if plain.encode() == text else plain.encode() + end + rest


def _mesh(mesh: trimesh.Trimesh, textures: bool) -> Geometry:
    points, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    visual = mesh.visual
    if textures and isinstance(visual, TextureVisuals) and visual.kind == "texture":
        visual = visual.to_color()
    if not isinstance(visual, ColorVisuals):
        return Geometry(points, faces)
    if visual.kind == "vertex":
        colors = np.atleast_2d(visual.vertex_colors)[:, :3]           # one row alone: a material's colour
        return Geometry(points, faces, colors=_signed(np.broadcast_to(colors, points.shape)))
    if visual.kind == "face":                                         # each face gets corners of its own
        colors = _signed(visual.face_colors[:, :3]).repeat(3, axis=0)
        return Geometry(points[faces].reshape(-1, 3), np.arange(faces.size).reshape(-1, 3), colors=colors)
    return Geometry(points, faces)


def _bare(cloud: trimesh.PointCloud) -> Geometry:
    points, colors = np.asarray(cloud.vertices, np.float64), np.asarray(cloud.colors)
    return Geometry(points, colors=_signed(colors[:, :3]) if len(colors) == len(points) else None)


def _joined(parts: Sequence[Geometry]) -> Geometry:
    """Parts of a scene as one; where only some have colours, the others are grey."""
    if not parts:
        raise ValueError("it holds no points")
    points = np.concatenate([part.points for part in parts])
    starts = np.cumsum([0, *(len(part.points) for part in parts)])
    faces = None
    if parts[0].faces is not None:
        faces = np.concatenate([part.faces + start for part, start in zip(parts, starts[:-1], strict=True)])
    colors = None
    if any(part.colors is not None for part in parts):
        colors = np.concatenate([np.zeros_like(p.points) if p.colors is None else p.colors for p in parts])
    return Geometry(points, faces, colors=colors)
