"""Writing: every format read back, channels and all; nothing half-written; surfaces that close."""

import numpy as np
import pytest
import torch
import trimesh

from mmdiff.adapters.points import write as writing
from mmdiff.adapters.points.files import load_shape
from mmdiff.adapters.points.isosurface import isosurface
from mmdiff.adapters.points.surface import circumsphere, spacing, surface
from mmdiff.adapters.points.write import SUFFIXES, write_mesh, write_points

WHOLE = (".ply", ".xyz", ".npz", ".pcd")
"""Formats that hold every channel."""


def sample(points=200, channels=3, seed=0):
    return torch.randn(channels, points, generator=torch.Generator().manual_seed(seed))


def ball(points=2000, channels=3, seed=0):
    return torch.nn.functional.normalize(sample(points, channels, seed), dim=0)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_points_are_read_as_written(tmp_path, suffix):
    x = sample()
    path = write_points(x, tmp_path / f"x{suffix}")
    shape = load_shape(path)
    assert shape.faces is None and np.allclose(shape.points.T, x, atol=1e-6)
    assert (shape.normals, shape.extra) == (None, None)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_channels_are_read_as_written(tmp_path, suffix):
    x = torch.cat([sample(), ball(200), sample(seed=2).clamp(-1, 1), sample(channels=4, seed=3)])
    shape = load_shape(write_points(x, tmp_path / f"x{suffix}", normals=True, colors=True))
    assert np.allclose(shape.colors.T, x[6:9], atol=1 / 255 + 1e-6)
    if suffix in WHOLE:
        assert np.allclose(shape.normals.T, x[3:6], atol=1e-5)
        assert np.allclose(shape.extra.T, x[9:], atol=1e-6)


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path):
    for suffix, reason in ((".stl", "triangles"), (".off", "faces"), (".gltf", "other files"), (".dwg", ".ply .glb")):
        with pytest.raises(ValueError, match=reason):
            write_points(sample(), tmp_path / f"x{suffix}")
    x = sample()
    x[0, 3] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        write_points(x, tmp_path / "x.ply")
    with pytest.raises(ValueError, match="at least 6"):
        write_points(sample(), tmp_path / "x.ply", normals=True)
    assert not list(tmp_path.iterdir())


def test_a_file_that_comes_back_short_never_gets_its_name(tmp_path, monkeypatch):
    (tmp_path / "x.ply").write_text("kept")
    monkeypatch.setattr(writing, "_ply", lambda shape, path: path.write_bytes(
        b"ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    ))  # fmt: skip
    with pytest.raises(ValueError, match="read again"):
        write_points(sample(), tmp_path / "x.ply")
    assert [p.name for p in tmp_path.iterdir()] == ["x.ply"] and (tmp_path / "x.ply").read_text() == "kept"


@pytest.mark.parametrize("suffix", [".ply", ".glb", ".obj", ".stl", ".off"])
def test_meshes_are_read_as_written(tmp_path, suffix):
    mesh = surface(ball(), method="density")
    shape = load_shape(write_mesh(mesh, tmp_path / f"x{suffix}"))
    assert len(shape.faces) == len(mesh.faces)
    with pytest.raises(ValueError, match="cannot write a mesh"):
        write_mesh(mesh, tmp_path / "x.xyz")


@pytest.mark.parametrize(("method", "tolerance"), [("alpha", 0.02), ("density", 0.15)])
def test_the_surface_through_a_ball_is_near_the_ball(method, tolerance):
    mesh = surface(ball(4000), method=method)
    points, _ = trimesh.sample.sample_surface(mesh, 5000, seed=0)
    assert np.abs(np.linalg.norm(points, axis=1) - 1).max() < tolerance
    assert len(np.unique(points.round(0), axis=0)) > 6                # it goes all around
    if method == "density":
        assert mesh.is_watertight and mesh.is_winding_consistent


def test_the_alpha_surface_of_a_filled_cube_is_its_outside():
    x = 2 * torch.rand(3, 3000, generator=torch.Generator().manual_seed(0)) - 1
    mesh = surface(x, reach=2.0)
    assert (np.abs(mesh.triangles_center).max(1) > 0.8).mean() > 0.98 and np.isclose(mesh.area, 24, rtol=0.15)


def test_an_isosurface_of_a_ball_is_closed_with_its_area_and_volume():
    grid = np.stack(np.meshgrid(*[np.linspace(-1.5, 1.5, 61)] * 3, indexing="ij"))
    vertices, faces = isosurface(1 - np.linalg.norm(grid, axis=0), 1e-9)
    mesh = trimesh.Trimesh(vertices / 20 - 1.5, faces, process=False)
    assert mesh.is_watertight and mesh.body_count == 1 and mesh.euler_number == 2
    assert np.isclose(mesh.volume, 4 / 3 * np.pi, rtol=0.01) and np.isclose(mesh.area, 4 * np.pi, rtol=0.01)


def test_circumradii_are_those_of_known_simplices():
    triangle, tetrahedron = np.eye(3)[None], np.concatenate([np.eye(3), np.ones((1, 3))])[None]
    assert np.allclose(circumsphere(triangle)[1], np.sqrt(2 / 3))
    assert np.allclose(circumsphere(tetrahedron)[1], np.sqrt(3) / 2)
    assert np.isinf(circumsphere(np.array([[[0, 0, 0], [1, 0, 0], [2, 0, 0.0]]]))[1]).all()


def test_surfaces_scale_with_their_points():
    x = ball(500).double()
    small, large = surface(x), surface(1000 * x)
    assert len(small.faces) == len(large.faces) and np.isclose(spacing(1000 * x.T.numpy()), 1000 * spacing(x.T.numpy()))


def test_points_without_a_surface_are_refused():
    flat = ball()
    flat[2] = 0
    with pytest.raises(ValueError, match="plane"):
        surface(flat)
    for wrong in ({"method": "poisson"}, {"reach": -1.0}, {"reach": 1e-6}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            surface(ball(), **wrong)
    with pytest.raises(ValueError, match="at least 8"):
        surface(ball(5))
