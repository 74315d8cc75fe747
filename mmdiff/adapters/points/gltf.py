"""glTF scenes made plain, so that what opens them needs to know triangles, strips and points alone.

    sparse accessors, and normalized places and texture coordinates   ->  dense floats
    EXT_mesh_gpu_instancing                                           ->  a node for each instance
    fans                                                              ->  triangles

Compressed geometry and unknown extensions that a file requires are refused by name. Khronos glTF 2.0, 3.6 and 5.
"""

import base64
import json
import os
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
FAN, TRIANGLES = 6, 4
INSTANCING, DRACO = "EXT_mesh_gpu_instancing", "KHR_draco_mesh_compression"
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
HARMLESS = (
    "KHR_mesh_quantization", "KHR_materials_", "KHR_texture_", "EXT_texture_", "MSFT_texture_", "KHR_lights_",
    "KHR_xmp", "KHR_animation_", INSTANCING,
)
"""Beginnings of the names of extensions that leave geometry as it is, or that are read here."""

Tree = dict[str, Any]


def beside(folder: Path, name: str) -> Path:
    """The file in a folder, or below it, that a file there refers to. Raises ``ValueError`` for one anywhere else."""
    below = os.path.normpath(unquote(name.strip()))
    if os.path.isabs(below) or below.split(os.sep)[0] == ".." or "://" in name or "\0" in below:
        raise ValueError(f"it refers to {name!r}, which is not in its folder")
    return folder / below


def plain(path: Path) -> bytes | None:
    """The scene as one glTF file in which all is told plainly; None for one that is so, or of another version.

    Raises ``ValueError`` naming the extension that is not read.
    """
    data = path.read_bytes()
    tree, chunk = (_chunks(data) if data[:4] == b"glTF" else (json.loads(data), None))
    if tree is None:
        return None
    if not isinstance(tree, dict):
        raise ValueError("it is JSON, but no scene")
    _refuse(tree)
    scene = _Scene(tree, chunk, path.parent)
    scene.expand()
    return json.dumps(scene.tree).encode() if scene.changed else None


def _chunks(data: bytes) -> tuple[Tree | None, bytes | None]:
    """The JSON and the binary chunk of a GLB file."""
    if len(data) < 20:
        raise ValueError("it ends in its header")
    version, length, size = struct.unpack_from("<III", data, 4)
    if version != 2:
        return None, None
    if length > len(data):
        raise ValueError(f"it ends after {len(data)} of {length} bytes")
    start = 20 + size
    rest = data[start + 8 : start + 8 + struct.unpack_from("<I", data, start)[0]] if start + 8 <= length else None
    return json.loads(data[20:start]), rest


def _refuse(tree: Tree) -> None:
    if unknown := [name for name in tree.get("extensionsRequired", []) if not name.startswith(HARMLESS)]:
        raise ValueError(f"it requires the extension {', '.join(unknown)}, which is not read: export it without")
    for name in (DRACO, *MESHOPT):
        parts = _parts(tree) if name == DRACO else tree.get("bufferViews", [])
        for part in (p for p in parts if name in p.get("extensions", {})):
            accessors = [tree["accessors"][i] for i in part.get("attributes", {}).values()]
            empty = "uri" not in tree["buffers"][part["buffer"]] if name in MESHOPT else None
            if empty or any("bufferView" not in accessor for accessor in accessors):
                raise ValueError(f"it is compressed with {name}, which is not read: export it without")


def _parts(tree: Tree) -> list[Tree]:
    return [part for mesh in tree.get("meshes", []) for part in mesh["primitives"]]


class _Scene:
    """A tree that is being made plain; what is new goes to a buffer of its own."""

    def __init__(self, tree: Tree, chunk: bytes | None, folder: Path):
        self.tree, self.chunk, self.folder, self.changed = tree, chunk, folder, False
        self._bytes: dict[int, bytes] = {}

    def expand(self) -> None:
        for part in _parts(self.tree):
            named = part["attributes"]
            for name in [name for name in ("POSITION", "TEXCOORD_0", "COLOR_0") if name in named]:
                accessor = self.tree["accessors"][named[name]]
                if "sparse" in accessor or (accessor.get("normalized") and name != "COLOR_0"):
                    named[name] = self._added(self._values(named[name]))
            if "indices" in part and "sparse" in self.tree["accessors"][part["indices"]]:
                part["indices"] = self._added(self._values(part["indices"]))
            if part.get("mode") == FAN:
                count = self.tree["accessors"][named["POSITION"]]["count"]
                corners = self._values(part["indices"])[:, 0] if "indices" in part else np.arange(count)
                fan = np.stack([np.full(len(corners) - 2, corners[0]), corners[1:-1], corners[2:]], 1)
                part["mode"], part["indices"] = TRIANGLES, self._added(fan.reshape(-1, 1).astype("<u4"))
        for node in list(self.tree.get("nodes", [])):
            if node.pop("camera", None) is not None:                  # trimesh leaves out what hangs on one
                self.changed = True
            if INSTANCING in node.get("extensions", {}) and "mesh" in node:
                self._instance(node)
        if self.changed:
            for i, buffer in enumerate(self.tree.get("buffers", [])):
                buffer["uri"] = "data:;base64," + base64.b64encode(self._buffer(i)).decode()

    def _instance(self, node: Tree) -> None:
        attributes = node["extensions"].pop(INSTANCING)["attributes"]
        names = {"TRANSLATION": "translation", "ROTATION": "rotation", "SCALE": "scale"}
        values = {names[name]: self._values(i).tolist() for name, i in attributes.items() if name in names}
        mesh, count = node.pop("mesh"), len(next(iter(values.values()), []))
        children = [{"mesh": mesh, **{name: rows[i] for name, rows in values.items()}} for i in range(count)]
        node["children"] = [*node.get("children", []), *range(len(self.tree["nodes"]), len(self.tree["nodes"]) + count)]
        self.tree["nodes"] += children
        self.changed = True

    def _added(self, values: np.ndarray) -> int:
        """The number of a new accessor that holds them."""
        data = values.astype("<f4" if np.issubdtype(values.dtype, np.floating) else "<u4")
        kind = next(name for name, width in WIDTHS.items() if width == data.shape[1])
        buffers = self.tree.setdefault("buffers", [])
        self._bytes[len(buffers)] = data.tobytes()
        buffers.append({"byteLength": data.nbytes})
        views = self.tree.setdefault("bufferViews", [])
        views.append({"buffer": len(buffers) - 1, "byteLength": data.nbytes})
        layout = {"componentType": 5126 if data.dtype.kind == "f" else 5125, "count": len(data), "type": kind}
        self.tree["accessors"].append({"bufferView": len(views) - 1, **layout})
        self.changed = True
        return len(self.tree["accessors"]) - 1

    def _values(self, number: int) -> np.ndarray:
        """``(count, width)`` of an accessor: sparse entries in place, normalized whole numbers as floats."""
        accessor = self.tree["accessors"][number]
        dtype, width = np.dtype(TYPES[accessor["componentType"]]), WIDTHS[accessor["type"]]
        values = np.zeros((accessor["count"], width), dtype)
        if "bufferView" in accessor:
            start = accessor.get("byteOffset", 0)
            values[:] = self._read(accessor["bufferView"], start, dtype, accessor["count"], width)
        if sparse := accessor.get("sparse"):
            at, new, count = sparse["indices"], sparse["values"], sparse["count"]
            kind = np.dtype(TYPES[at["componentType"]])
            rows = self._read(at["bufferView"], at.get("byteOffset", 0), kind, count, 1)[:, 0]
            values[rows] = self._read(new["bufferView"], new.get("byteOffset", 0), dtype, count, width)
        if accessor.get("normalized") and dtype.kind in "iu":
            return np.maximum(values / np.iinfo(dtype).max, -1.0)
        return values

    def _read(self, number: int, offset: int, dtype: np.dtype, count: int, width: int) -> np.ndarray:
        view = self.tree["bufferViews"][number]
        begin, row = view.get("byteOffset", 0), width * dtype.itemsize
        data = self._buffer(view["buffer"])[begin : begin + view["byteLength"]]
        stride = view.get("byteStride", row)
        if offset + (count - 1) * stride + row > len(data):
            raise ValueError(f"a view of it holds {len(data)} bytes, too few for {count} rows")
        return np.ndarray((count, width), dtype, data, offset, (stride, dtype.itemsize))

    def _buffer(self, number: int) -> bytes:
        if number not in self._bytes:
            uri = self.tree["buffers"][number].get("uri")
            if uri is None:
                self._bytes[number] = self.chunk or b""
            elif uri.startswith("data:"):
                self._bytes[number] = base64.b64decode(uri.partition(",")[2])
            else:
                self._bytes[number] = beside(self.folder, uri).read_bytes()
        return self._bytes[number]
