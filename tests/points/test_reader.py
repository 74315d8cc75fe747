"""Shapes to samples: sampling follows area, reads are fixed or new, augmentation is exact, the hidden is left out."""

import copy
import pickle

import numpy as np
import pytest
import torch
import trimesh

from mmdiff.adapters.points.augment import rotation
from mmdiff.adapters.points.files import Geometry, load_shape
from mmdiff.adapters.points.reader import PointReader
from mmdiff.adapters.points.sampling import directions, one_sided, sample_surface, visible
from mmdiff.adapters.points.solids import box
from tests.conftest import shared_data
from tests.points.made import CUBE, ball, cloud


def test_samples_of_two_triangles_follow_their_areas():
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 5], [3, 0, 5], [0, 3, 5.0]])
    samples = sample_surface(Geometry(points, np.array([[0, 1, 2], [3, 4, 5]])), 100_000, np.random.default_rng(0))
    assert abs((samples.points[:, 2] > 4).mean() - 0.9) < 0.004
    large = samples.points[samples.points[:, 2] > 4]
    assert np.allclose(large.mean(0), [1, 1, 5], atol=0.02)
    assert np.allclose(samples.normals, [0, 0, 1])


def test_colours_of_samples_lie_between_those_of_the_corners():
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    shape = Geometry(points, np.array([[0, 1, 2]]), colors=2 * points - 1)
    samples = sample_surface(shape, 100, np.random.default_rng(0))
    assert np.allclose(samples.colors, 2 * samples.points - 1)


def test_reads_are_fixed_by_the_name_and_new_with_an_rng(tmp_path):
    for name in ("a.stl", "b.stl"):
        CUBE.export(tmp_path / name)
    np.save(tmp_path / "c.npy", cloud())
    reader = PointReader(points=200, rotate="so3")
    for name in ("a.stl", "c.npy"):
        path = tmp_path / name
        assert torch.equal(reader.read(path), PointReader(points=200).read(path))
        first, again, other = (reader.read(path, np.random.default_rng(s)) for s in (0, 0, 1))
        assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(reader.read(tmp_path / "a.stl"), reader.read(tmp_path / "b.stl"))


def test_a_cloud_gives_points_of_its_own_none_twice(tmp_path):
    x = cloud(300)
    np.save(tmp_path / "c.npy", x)
    read = PointReader(points=300).read(tmp_path / "c.npy", np.random.default_rng(0)).numpy().T
    assert np.allclose(np.sort(read, 0), np.sort(x, 0), atol=1e-6) and not np.allclose(read, x)
    with pytest.raises(ValueError, match="holds 300 points, fewer than the 301"):
        PointReader(points=301).read(tmp_path / "c.npy")


def test_channels_that_a_file_lacks_are_named(tmp_path):
    np.save(tmp_path / "c.npy", cloud())
    for key in ("normals", "colors"):
        with pytest.raises(ValueError, match=f"no {key}"):
            PointReader(points=10, **{key: True}).read(tmp_path / "c.npy")
    np.savetxt(tmp_path / "far.xyz", cloud() + 5e6)
    with pytest.raises(ValueError, match="from the origin"):
        PointReader(points=10).read(tmp_path / "far.xyz")


@pytest.mark.parametrize("rotate", ["none", "x", "y", "z", "so3"])
def test_augmentation_turns_normals_with_the_surface(tmp_path, rotate):
    corners = np.concatenate([np.eye(3), -np.eye(3)])
    trimesh.convex.convex_hull(corners).export(tmp_path / "a.stl")    # an octahedron: no side lies along an axis
    reader = PointReader(points=400, normals=True, rotate=rotate, mirror="x", scale=(0.5, 2.0))
    x = reader.read(tmp_path / "a.stl", np.random.default_rng(0)).double().numpy()
    points, normals = x[:3].T, x[3:].T
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    _, side = np.unique(normals.round(3), axis=0, return_inverse=True)
    assert len(np.unique(side)) == 8
    for k in range(8):                                                # a side stays flat, its normal upright
        height = (points * normals)[side.ravel() == k].sum(1)
        assert np.ptp(height) < 1e-4 and abs(height.mean()) > 0.2


def test_rotations_are_proper_and_jitter_does_not_depend_on_the_unit():
    for kind in ("none", "x", "y", "z", "so3"):
        turn = rotation(kind, np.random.default_rng(0))
        assert np.allclose(turn @ turn.T, np.eye(3)) and np.isclose(np.linalg.det(turn), 1)
    reader, x = PointReader(points=500, jitter=0.05), cloud()
    a, b = (reader.sample(Geometry(s * x), np.random.default_rng(0), name="x") / s for s in (1.0, 100.0))
    assert torch.allclose(a, b, atol=1e-5)


def test_one_view_sees_half_a_ball_and_many_see_all():
    x = ball(3000)
    seen = one_sided(x, np.array([0, 0, 1]))
    assert 0.4 < seen.mean() < 0.55 and x[seen][:, 2].min() > -0.1
    assert visible(x).all()
    assert np.allclose(directions(100).mean(0), 0, atol=0.01)


def test_what_lies_inside_is_left_out(tmp_path):
    inner, outer = box(np.full(3, -0.5), np.full(3, 0.5)), box(-np.ones(3), np.ones(3))
    shape = Geometry(np.concatenate([inner.points, outer.points]), np.concatenate([inner.faces, outer.faces + 8]))
    trimesh.Trimesh(shape.points, shape.faces, process=False).export(tmp_path / "boxes.ply")
    for only, expected in ((False, 0.2), (True, 0.0)):
        x = PointReader(points=1000, visible_only=only).read(tmp_path / "boxes.ply")
        assert abs(float((x.abs().amax(0) < 0.9).float().mean()) - expected) < 0.05


def test_a_reader_keeps_shapes_notices_changes_and_travels_light(tmp_path, monkeypatch):
    opened = []

    def counting(path, **options):
        opened.append(path)
        return load_shape(path, **options)

    monkeypatch.setattr("mmdiff.adapters.points.reader.load_shape", counting)
    paths = [tmp_path / f"{i}.npy" for i in range(4)]
    for path in paths:
        np.save(path, cloud(400))
    reader = PointReader(points=100, cache=1000)
    for path in [paths[0], paths[0], paths[1], paths[0]]:
        reader.read(path)
    assert len(opened) == 2
    reader.read(paths[2])                                             # no room for three: the oldest, 1, goes
    reader.read(paths[0])
    assert len(opened) == 3
    np.save(paths[0], cloud(401))
    reader.read(paths[0])
    assert len(opened) == 4
    assert len(pickle.dumps(reader)) < 2000
    assert torch.equal(pickle.loads(pickle.dumps(reader)).read(paths[3]), copy.deepcopy(reader).read(paths[3]))


def test_every_real_mesh_file_is_read():
    reader = PointReader(points=256, normals=True)
    paths = sorted(shared_data("3d", "sh3d_furniture", "meshes").glob("*.glb"))
    assert len(paths) == 91
    for path in paths:
        assert torch.isfinite(reader.read(path)).all()


@pytest.mark.parametrize(
    "wrong", [{"points": 0}, {"rotate": "w"}, {"mirror": "q"}, {"scale": (2.0, 1.0)}, {"jitter": -1.0}, {"extra": -1}]
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PointReader(**wrong)
