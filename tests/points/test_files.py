"""Files of shapes: every format read, every trap named."""

import contextlib
import json
import zipfile

import numpy as np
import pytest
import torch
import trimesh

from mmdiff.adapters.points.files import SUFFIXES, companions, load_shape
from mmdiff.adapters.points.reader import PointReader
from mmdiff.adapters.points.write import write_points
from tests.conftest import shared_data
from tests.points.made import CUBE, ball, cloud


def test_every_real_model_gives_its_count_of_points():
    expected = {
        "20mm-xyz-cube.stl": (780, 260), "ballA.off": (1900, 3796), "cube.glb": (8, 12),
        "cycloidal.ply": (21384, 43368), "featuretype.STL": (10428, 3476),
        "ply_points_bin.ply": (8, None), "points_ascii.ply": (5, None), "points_bin.ply": (5, None),
        "points_cloudcompare.xyz": (101, None), "spot.obj": (3225, 5856),
    }
    folder = shared_data("3d", "test_models")
    for name, (points, faces) in expected.items():
        shape = load_shape(folder / name)
        assert (len(shape.points), None if shape.faces is None else len(shape.faces)) == (points, faces), name
    assert load_shape(folder / "ply_points_bin.ply").normals.shape == (8, 3)
    assert load_shape(folder / "points_cloudcompare.xyz").colors.shape == (101, 3)
    assert load_shape(folder / "cycloidal.ply").colors.shape == (21384, 3)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".stl", ".off", ".glb"])
def test_a_mesh_of_any_format_has_its_area_and_box(tmp_path, suffix):
    path = tmp_path / f"cube{suffix}"
    CUBE.export(path)
    shape = load_shape(path)
    assert np.allclose([shape.points.min(0), shape.points.max(0)], [[-1] * 3, [1] * 3], atol=1e-6)
    x = PointReader(points=600).read(path)
    assert x.shape == (3, 600) and torch.allclose(x.abs().amax(0), torch.ones(600), atol=1e-5)


def test_ascii_ply_with_colours_and_a_quad_is_read(tmp_path):
    rows = "0 0 0 255 0 0\n1 0 0 255 0 0\n1 1 0 255 0 0\n0 1 1 0 0 255\n"
    head = "ply\nformat ascii 1.0\ncomment c\nelement vertex 4\n" + "".join(
        f"property {kind} {name}\n" for kind, name in
        [*(("float", c) for c in "xyz"), *(("uchar", c) for c in ("red", "green", "blue"))]
    )
    (tmp_path / "mesh.ply").write_text(
        head + "element face 1\nproperty list uchar int vertex_indices\nend_header\n" + rows + "4 0 1 2 3\n"
    )
    (tmp_path / "cloud.ply").write_text(head + "end_header\n" + rows)
    mesh, points = load_shape(tmp_path / "mesh.ply"), load_shape(tmp_path / "cloud.ply")
    assert mesh.faces.shape == (2, 3) and points.faces is None
    for shape in (mesh, points):
        assert np.allclose(shape.colors[[0, 3]], [[1, -1, -1], [-1, -1, 1]])


def test_big_endian_ply_is_read(tmp_path):
    x = cloud(20)
    header = "ply\nformat binary_big_endian 1.0\nelement vertex 20\n" + "".join(f"property double {c}\n" for c in "xyz")
    (tmp_path / "x.ply").write_bytes(header.encode() + b"end_header\n" + x.astype(">f8").tobytes())
    assert np.array_equal(load_shape(tmp_path / "x.ply").points, x)


@pytest.mark.parametrize("data", ["ascii", "binary"])
def test_pcd_with_packed_colours_is_read(tmp_path, data):
    x = cloud(20).astype(np.float32)
    rgb = np.full(20, 255 << 16 | 128, np.uint32)
    header = "VERSION .7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F U\nCOUNT 1 1 1 1\nWIDTH 20\nHEIGHT 1\n"
    header += f"POINTS 20\nDATA {data}\n"
    table = np.empty(20, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4")])
    table["x"], table["y"], table["z"], table["rgb"] = *x.T, rgb
    text = "".join(f"{a:.9g} {b:.9g} {c:.9g} {d}\n" for a, b, c, d in table.tolist())
    (tmp_path / "x.pcd").write_bytes(header.encode() + (text.encode() if data == "ascii" else table.tobytes()))
    shape = load_shape(tmp_path / "x.pcd")
    assert np.allclose(shape.points, x, atol=1e-6)
    assert np.allclose(shape.colors, [1, -1, 128 / 127.5 - 1])


def test_columns_of_xyz_are_told_apart_by_what_they_hold(tmp_path):
    x, n, c = cloud(30), ball(30), np.random.default_rng(1).integers(0, 256, (30, 3))
    for name, table in {"3": x, "6n": np.hstack([x, n]), "6c": np.hstack([x, c]), "9": np.hstack([x, n, c]),
                        "9 turned": np.hstack([x, c, n]), "7": np.hstack([x, c, c[:, :1]])}.items():
        path = tmp_path / f"{name}.xyz"
        np.savetxt(path, table, header="made by a test")
        shape = load_shape(path)
        assert np.allclose(shape.points, x)
        assert (shape.normals is not None) == ("n" in name or "9" in name)
        assert (shape.colors is not None) == ("c" in name or "9" in name or "7" in name)
        assert (shape.extra is not None) == (name == "7")
        np.save(tmp_path / f"{name}.npy", table)
        assert np.allclose(load_shape(tmp_path / f"{name}.npy").points, x)


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_a_scene_is_read_with_its_transforms(tmp_path, suffix):
    scene = trimesh.Scene()
    for x in (-5.0, 5.0):
        scene.add_geometry(CUBE, transform=trimesh.transformations.translation_matrix((x, 0, 0)))
    if suffix == ".glb":
        scene.export(tmp_path / "two.glb")
    else:
        for name, data in trimesh.exchange.gltf.export_gltf(scene).items():
            (tmp_path / name).write_bytes(data)
        (tmp_path / "model.gltf").rename(tmp_path / "two.gltf")
    shape = load_shape(tmp_path / f"two{suffix}")
    assert np.allclose(np.ptp(shape.points, 0), [12, 2, 2])
    assert len(shape.faces) == 24
    for part in tmp_path.glob("*.bin"):
        part.unlink()
        with pytest.raises(ValueError, match="cannot be read"):
            load_shape(tmp_path / "two.gltf")


def test_an_obj_without_its_material_is_read(tmp_path):
    (tmp_path / "x.obj").write_text("mtllib gone.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\n")
    for textures in (False, True):
        assert load_shape(tmp_path / "x.obj", textures=textures).faces.shape == (2, 3)


@pytest.mark.parametrize("suffix", [".obj", ".off", ".stl", ".ply"])
@pytest.mark.parametrize(("encoding", "name"), [("latin-1", "Würfel é"), ("gbk", "誠立体")])
def test_comments_and_names_may_be_in_any_encoding(tmp_path, suffix, encoding, name):
    text = CUBE.export(file_type="stl_ascii" if suffix == ".stl" else suffix[1:], **(
        {"encoding": "ascii"} if suffix == ".ply" else {}
    ))
    data, name = text if isinstance(text, bytes) else text.encode(), name.encode(encoding)
    first, rest = data.split(b"\n", 1)
    lines = {
        ".obj": [b"# " + name, b"o " + name, data], ".off": [first, b"# " + name, rest],
        ".stl": [first + b" " + name, rest], ".ply": [first, b"comment " + name, rest],
    }
    (tmp_path / f"a{suffix}").write_bytes(b"\n".join(lines[suffix]))
    shape = load_shape(tmp_path / f"a{suffix}")
    assert len(shape.faces) == 12 and np.allclose(np.ptp(shape.points, 0), 2)


def test_packed_data_under_a_comment_in_another_encoding_are_not_touched(tmp_path):
    data = CUBE.export(file_type="ply").replace(b"comment", "comment Würfel".encode("latin-1"), 1)
    (tmp_path / "a.ply").write_bytes(data)
    assert np.allclose(np.ptp(load_shape(tmp_path / "a.ply").points, 0), 2)


@pytest.mark.parametrize("row", ["{},5 {},5 {},5", "{},5;{},5;{},5", "{},5\t{},25\t{}"])
def test_commas_that_may_be_decimal_are_refused(tmp_path, row):
    (tmp_path / "a.xyz").write_text("\n".join(row.format(i, i * i % 7, i % 3) for i in range(9)))
    with pytest.raises(ValueError, match="a.xyz.*commas may be decimal.*with a point"):
        load_shape(tmp_path / "a.xyz")


@pytest.mark.parametrize("rows", ["1,05,2,10,3,15", "1,5,2,5,3,07\n1,5,2,5,3,5", ",5 ,25 -,75", "-,5;1;2"])
def test_decimal_commas_are_known_by_what_no_whole_number_looks_like(tmp_path, rows):
    (tmp_path / "a.xyz").write_text("".join(f"{row}\n" for row in rows.split("\n")) * 4)
    with pytest.raises(ValueError, match="a.xyz.*commas may be decimal.*with a point"):
        load_shape(tmp_path / "a.xyz")


@pytest.mark.parametrize("row", ["1,,3,4", ",1,2,3", "1;;3;4"])
def test_an_empty_cell_moves_no_other_into_its_place(tmp_path, row):
    (tmp_path / "a.xyz").write_text("".join(f"{row}{i}\n" for i in range(5)))
    with pytest.raises(ValueError, match="a.xyz.*a cell of it is empty"):
        load_shape(tmp_path / "a.xyz")


HEADERS = {
    ".ply": "ply\nformat {form} 1.0\nelement vertex {count}\n" + "property float {axis}\n" * 3 + "end_header\n",
    ".pcd": "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS {count}\nDATA {form}\n",
}


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("suffix", [".ply", ".pcd"])
@pytest.mark.parametrize(("count", "reason"), [
    (10**15, f"ends after 5 of {10**15} points"), (4, "holds more points than the 4"), (-1, "tells of -1 points"),
    (5, None),
])
def test_a_header_that_counts_wrong_is_refused_by_both_numbers(tmp_path, suffix, text, count, reason):
    points = np.random.default_rng(0).random((5, 3)).astype("<f4")
    form = "ascii" if text else "binary_little_endian" if suffix == ".ply" else "binary"
    head = HEADERS[suffix].format(form=form, count=count, axis="{}")
    head = head.replace("{}", "x", 1).replace("{}", "y", 1).replace("{}", "z", 1).encode()
    body = "".join(" ".join(map(str, row)) + "\n" for row in points).encode() if text else points.tobytes()
    (path := tmp_path / f"a{suffix}").write_bytes(head + body)
    if reason is None:
        assert np.allclose(load_shape(path).points, points)
        return
    with pytest.raises(ValueError, match=reason):
        load_shape(path)


@pytest.mark.parametrize("between", [",", ", ", ";", " ; ", "\t"])
def test_columns_are_parted_by_commas_semicolons_or_blanks(tmp_path, between):
    x = cloud(20).round(6)
    (tmp_path / "a.xyz").write_text("\n".join(between.join(map(str, row)) for row in x.tolist()))
    assert np.allclose(load_shape(tmp_path / "a.xyz").points, x)


def test_a_fault_of_a_library_is_not_told_as_one_of_the_file(tmp_path, monkeypatch):
    CUBE.export(tmp_path / "a.stl")

    def fails(*args, **kwargs):
        raise TypeError("unexpected keyword")

    monkeypatch.setattr("trimesh.load_scene", fails)
    with pytest.raises(ValueError, match=r"a.stl: mmdiff or trimesh \S+ fails on it \(TypeError: unexpected keyword\)"):
        load_shape(tmp_path / "a.stl")


def numbers(value):
    return "\n".join(f"{i} {i * i % 7} {value if i == 3 else i % 3}" for i in range(9)).encode()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.ply", b"", "empty"), ("a.ply", b"nonsense", "cannot be read"), ("a.glb", b"glTF\x02\x00", "cannot be read"),
        ("a.stl", b"\0" * 84, "no points|cannot be read"), ("a.obj", b"# nothing\n", "no points|cannot be read"),
        ("a.off", b"OFF\n3 1 0\n0 0 0\n", "cannot be read"), ("a.xyz", b"# only\n", "no points"),
        ("a.xyz", b"3\nwater\nO 0 0 0\nH 0 0 1\nH 0 1 0\n", "molecule"), ("a.xyz", b"1 2\n3 4\n", "at least 3"),
        ("a.xyz", b"1 2 3\n4 5\n", "columns"), ("a.xyz", numbers("nan"), "NaN"), ("a.xyz", numbers("inf"), "infinite"),
        ("a.xyz", b"1 2 3\n" * 50, "distinct"), ("a.npz", b"PK\x03\x04", "cannot be read"), ("a.dxf", b"x", "ending"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 2 0 0\nv 3 0 0\nf 1 2 3\n", "no area"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nproperty float y\nproperty float z\n"
                  b"end_header\n1 2 3\n", "cannot be read"),
        ("a.pcd", b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 9\nDATA binary_compressed\n", "compressed"),
        ("a.pcd", b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 9\nDATA binary\n1234", "ends after"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_says_why(tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=reason) as raised:
        load_shape(tmp_path / name)
    assert name in str(raised.value)


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        load_shape(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_or_garbled_files_are_refused_or_read_but_never_crash(tmp_path, suffix):
    whole = tmp_path / f"cube{suffix}"
    if suffix == ".npy":
        np.save(whole, cloud())
    elif suffix in (".xyz", ".pcd", ".npz"):
        write_points(torch.from_numpy(cloud().T), whole)
    else:
        CUBE.export(whole)
    data, rng = whole.read_bytes(), np.random.default_rng(0)
    for i in range(20):
        bad = bytearray(data[: int(rng.integers(1, len(data)))])
        bad[int(rng.integers(len(bad)))] ^= int(rng.integers(1, 256))
        path = tmp_path / f"{i}{suffix}"
        path.write_bytes(bytes(bad))
        with contextlib.suppress(ValueError):
            assert np.isfinite(load_shape(path).points).all()


TRIANGLE = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]]).tobytes()


@pytest.mark.parametrize("uri", ["../secret.bin", "{}/secret.bin", "x/../../secret.bin", "%2e%2e/secret.bin",
                                 "http://127.0.0.1:9/secret.bin", "file://{}/secret.bin", "\0"])
@pytest.mark.parametrize("sparse", [True, False])
def test_a_scene_leads_to_no_file_outside_of_its_folder(tmp_path, uri, sparse):
    (tmp_path / "a").mkdir()
    for name in ("secret.bin", "a/own.bin"):
        (tmp_path / name).write_bytes(TRIANGLE)
    told = {"count": 1, "indices": {"bufferView": 0, "componentType": 5125}, "values": {"bufferView": 0}}
    accessor = {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0]}
    scene = {
        "asset": {"version": "2.0"}, "scenes": [{"nodes": [0]}], "scene": 0, "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{**accessor, **({"sparse": told} if sparse else {})}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
    }
    path = tmp_path / "a" / "scene.gltf"
    for name in ("own.bin", uri.format(tmp_path)):
        path.write_text(json.dumps({**scene, "buffers": [{"uri": name, "byteLength": 36}]}))
        if name == "own.bin":
            assert len(load_shape(path).points) == 3 and companions(path) == [tmp_path / "a" / "own.bin"]
    with pytest.raises(ValueError, match="not in its folder"):
        load_shape(path)
    assert companions(path) == []


def test_materials_and_pictures_are_those_of_the_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "secret.mtl").write_text("newmtl m\nKd 1 0 0\n")
    path = tmp_path / "a" / "x.obj"
    path.write_text("mtllib ../secret.mtl\nmtllib own.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (tmp_path / "a" / "own.mtl").write_text(f"newmtl m\nKd 0 1 0\nmap_Kd {tmp_path / 'secret.mtl'}\n")
    assert companions(path) == [tmp_path / "a" / "own.mtl"]
    assert len(load_shape(path, textures=True).faces) == 1


def test_arrays_of_other_names_are_not_read(tmp_path):
    np.savez(tmp_path / "x.npz", points=np.random.default_rng(0).normal(size=(9, 3)))
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as file, file.open("huge.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    assert len(load_shape(tmp_path / "x.npz").points) == 9
