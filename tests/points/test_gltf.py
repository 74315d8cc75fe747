"""glTF: whatever way a scene tells a shape, it is that shape, or the extension is named."""

import base64
import json

import numpy as np
import pytest

from mmdiff.adapters.points.files import load_shape
from tests.conftest import shared_data

CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], "<f4")
FACES = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6]], "<u2")
CODES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}


class Scene:
    """A glTF tree with one buffer view for each array."""

    def __init__(self):
        self.data = b""
        self.tree = {"asset": {"version": "2.0"}, "scene": 0, "bufferViews": [], "accessors": [], "meshes": [],
                     "nodes": [], "scenes": [{"nodes": []}]}

    def view(self, array):
        self.data += b"\0" * (-len(self.data) % 4)
        self.tree["bufferViews"].append({"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes})
        self.data += array.tobytes()
        return len(self.tree["bufferViews"]) - 1

    def accessor(self, array, kind="VEC3", **more):
        told = {"bufferView": self.view(array), "componentType": CODES[array.dtype.str[1:]], "count": len(array)}
        self.tree["accessors"].append({**told, "type": kind, **more})
        return len(self.tree["accessors"]) - 1

    def node(self, positions, indices=None, *, mode=4, part=None, **more):
        part = {"attributes": {"POSITION": positions}, "mode": mode, **(part or {})}
        part |= {} if indices is None else {"indices": indices}
        self.tree["meshes"].append({"primitives": [part]})
        self.tree["nodes"].append({"mesh": len(self.tree["meshes"]) - 1, **more})
        self.tree["scenes"][0]["nodes"].append(len(self.tree["nodes"]) - 1)
        return self

    def indices(self):
        return self.accessor(FACES.reshape(-1, 1), "SCALAR")

    def save(self, path):
        uri = {"uri": "data:;base64," + base64.b64encode(self.data).decode()} if path.suffix == ".gltf" else {}
        text = json.dumps({**self.tree, "buffers": [{"byteLength": len(self.data), **uri}]}).encode()
        if path.suffix == ".glb":
            text += b" " * (-len(text) % 4)
            parts = [(text, b"JSON"), (self.data + b"\0" * (-len(self.data) % 4), b"BIN\0")]
            text = b"".join(len(part).to_bytes(4, "little") + kind + part for part, kind in parts)
            text = b"glTF" + (2).to_bytes(4, "little") + (12 + len(text)).to_bytes(4, "little") + text
        path.write_bytes(text)
        return load_shape(path)


def box(shape):
    return np.round(np.stack([shape.points.min(0), shape.points.max(0)]), 4).tolist()


@pytest.mark.parametrize("suffix", [".gltf", ".glb"])
def test_sparse_accessors_are_filled(tmp_path, suffix):
    scene = Scene()
    base = CORNERS.copy()
    base[[2, 7]] = 0
    rows, values = np.array([[2], [7]], "<u2"), CORNERS[[2, 7]]
    sparse = {"count": 2, "indices": {"bufferView": scene.view(rows), "componentType": 5123},
              "values": {"bufferView": scene.view(values)}}
    shape = scene.node(scene.accessor(base, sparse=sparse), scene.indices()).save(tmp_path / f"a{suffix}")
    assert np.allclose(shape.points, CORNERS) and len(shape.faces) == 8
    scene = Scene()
    rows = np.arange(8, dtype="<u2")[:, None]
    sparse = {"count": 8, "indices": {"bufferView": scene.view(rows), "componentType": 5123},
              "values": {"bufferView": scene.view(CORNERS)}}
    scene.tree["accessors"].append({"componentType": 5126, "count": 8, "type": "VEC3", "sparse": sparse})
    assert np.allclose(scene.node(0, scene.indices()).save(tmp_path / f"b{suffix}").points, CORNERS)


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2"])
def test_quantised_places_are_scaled(tmp_path, kind):
    scene, top = Scene(), np.iinfo(kind).max
    stored = (CORNERS.clip(-1 if kind[0] == "i" else 0, 1) * top).astype("<" + kind)
    scene.tree |= {"extensionsRequired": ["KHR_mesh_quantization"], "extensionsUsed": ["KHR_mesh_quantization"]}
    scene.node(scene.accessor(stored, normalized=True), scene.indices(), scale=[3, 1, 1])
    scene.node(scene.accessor(stored), scene.indices(), scale=[1 / top] * 3, translation=[10, 0, 0])
    low = -1 if kind[0] == "i" else 0
    assert box(scene.save(tmp_path / "a.glb")) == [[3 * low, low, low], [11, 1, 1]]


def test_every_instance_is_there_at_its_place(tmp_path):
    scene = Scene()
    half = np.sqrt(0.5)
    told = {
        "TRANSLATION": scene.accessor(np.array([[0, 0, 0], [5, 0, 0]], "<f4")),
        "ROTATION": scene.accessor(np.array([[0, 0, 0, 1], [0, 0, half, half]], "<f4"), "VEC4"),
        "SCALE": scene.accessor(np.array([[1, 1, 1], [1, 3, 1]], "<f4")),
    }
    scene.node(scene.accessor(CORNERS), scene.indices(), translation=[0, 0, 7],
               extensions={"EXT_mesh_gpu_instancing": {"attributes": told}})
    scene.tree["extensionsRequired"] = ["EXT_mesh_gpu_instancing"]
    shape = scene.save(tmp_path / "a.glb")
    assert len(shape.faces) == 16 and box(shape) == [[-1, -1, 6], [8, 1, 8]]


def test_fans_strips_and_what_hangs_on_a_camera_are_read(tmp_path):
    scene = Scene()
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], "<f4")
    scene.node(scene.accessor(square), mode=6)
    scene.node(scene.accessor(square[[0, 1, 3, 2]]), mode=5, translation=[2, 0, 0])
    scene.node(scene.accessor(CORNERS), scene.indices(), camera=0, translation=[9, 0, 0])
    scene.tree["cameras"] = [{"type": "perspective", "perspective": {"yfov": 1, "znear": 1, "aspectRatio": 1}}]
    shape = scene.save(tmp_path / "a.glb")
    assert len(shape.faces) == 2 + 2 + 8 and box(shape)[1][0] == 10


@pytest.mark.parametrize("name", ["KHR_draco_mesh_compression", "EXT_meshopt_compression", "ACME_new_geometry"])
def test_an_extension_that_is_not_read_is_named(tmp_path, name):
    scene = Scene()
    scene.node(scene.accessor(CORNERS), scene.indices())
    scene.tree["extensionsRequired"] = [name]
    with pytest.raises(ValueError, match=f"a.glb.*{name}"):
        scene.save(tmp_path / "a.glb")


def test_a_compressed_part_beside_a_plain_one_is_no_zeros(tmp_path):
    scene = Scene()
    scene.node(scene.accessor(CORNERS), scene.indices())
    scene.tree["accessors"].append({"componentType": 5126, "count": 8, "type": "VEC3"})
    draco = {"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {"POSITION": 0}}}
    scene.node(len(scene.tree["accessors"]) - 1, scene.indices(), part={"extensions": draco})
    with pytest.raises(ValueError, match="KHR_draco_mesh_compression"):
        scene.save(tmp_path / "a.glb")


def test_plain_scenes_of_others_are_left_as_they_are():
    for path in sorted(shared_data("3d", "sh3d_furniture", "meshes").glob("*.glb"))[:5]:
        assert len(load_shape(path).faces) > 0
