"""The points adapter through the real command: train on meshes, generate points, surfaces and pictures, complete."""

import json

import numpy as np
import pytest
import torch
import trimesh

from mmdiff.adapters.points.files import load_shape
from mmdiff.adapters.points.score_solids import report, summary
from mmdiff.adapters.points.solids import SOLIDS, solid
from mmdiff.core.rng import Purpose, stream
from tests.conftest import mmdiff

TINY = [
    "adapter=points", "adapter.reader.points=64", "adapter.network.dim=32", "adapter.network.depth=2",
    "adapter.network.heads=2", "adapter.conditioner.dim=8", "loader.batch_size=4", "loader.val_samples=2",
    "preview.n=1", "preview.every=6", "validation.every=3", "checkpoint.every=3", "trainer.max_steps=6",
    "log.every=1", "logger=csv", "trainer=cpu",
]
GIVEN = ["adapter.reader.scan=true", "adapter.given.prefix=0.6"]


@pytest.fixture(scope="module")
def meshes(tmp_path_factory):
    """A folder for each kind of solid, and files that cannot be used."""
    root = tmp_path_factory.mktemp("meshes")
    for i, kind in enumerate(SOLIDS[:4] * 3):
        shape = solid(kind, stream(0, i, Purpose.DATA))
        (root / kind).mkdir(exist_ok=True)
        trimesh.Trimesh(shape.points, shape.faces).export(root / kind / f"{i}.{('ply', 'obj', 'stl', 'glb')[i % 4]}")
    (root / "ball" / "broken.ply").write_bytes(b"ply but not really")
    (root / "ball" / "empty.obj").write_bytes(b"")
    return root


@pytest.fixture(scope="module")
def run(meshes, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "points"
    mmdiff("train", f"run={path}", f"data.root={meshes}", "data=folder", *TINY, *GIVEN)
    return path


def test_a_folder_of_meshes_trains_and_what_cannot_be_used_is_named(run):
    facts = json.loads((run / "data.json").read_text())
    assert facts["kept"] == 12
    assert {name.split("/")[-1] for name, _ in facts["skipped"]} == {"broken.ply", "empty.obj"}
    assert (run / "previews" / "step-000000006" / "preview.png").exists()


def test_samples_are_clouds_of_any_size_with_pictures_to_turn(run, tmp_path):
    output = mmdiff("sample", run, "n=2", "cond.label=cone", "sampler.steps=2", "points=100", f"out={tmp_path}")
    assert "preview.png, turntable.gif, viewer.html" in output
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("preview.png", "turntable.gif", "viewer.html"))
    first, second = (load_shape(path) for path in sorted(tmp_path.glob("*.ply")))
    assert first.points.shape == (100, 3) and first.faces is None
    assert not np.allclose(first.points, second.points)


def test_a_surface_is_written_where_it_is_asked_for_and_remembered(run, tmp_path):
    told = ["sampler.steps=2", "points=200", "mesh=density", "suffix=.obj", f"out={tmp_path}"]
    mmdiff("sample", run, *told)
    path = next(tmp_path.glob("*.obj"))
    assert len(load_shape(path).faces) > 100 and json.loads(path.with_suffix(".json").read_text())["mesh"] == "density"
    assert "1 of 1 are there already" in mmdiff("sample", run, *told)
    assert "mesh is one of" in mmdiff("sample", run, "mesh=rubber", "sampler.steps=1", f"out={tmp_path}/b", code=2)


def test_completions_keep_the_part_and_differ_in_the_rest(run, tmp_path):
    part = np.random.default_rng(0).uniform(-1, 1, (20, 3)).astype(np.float32) * [1, 1, 0.1]
    np.savez(tmp_path / "part.npz", points=part)
    told = ["mode=complete", "n=2", "sampler.steps=2", f"out={tmp_path / 'out'}", f"input={tmp_path / 'part.npz'}"]
    mmdiff("sample", run, *told)
    first, second = (load_shape(path).points for path in sorted((tmp_path / "out").glob("*.ply")))
    assert first.shape == (64, 3)
    for points in (first, second):
        assert np.abs(points[None] - part[:, None]).sum(-1).min(1).max() < 1e-4
    assert not np.allclose(first, second)
    assert "ask for more" in mmdiff("sample", run, *told, "points=20", f"out={tmp_path / 'few'}", code=2)


def test_a_part_that_sticks_out_of_the_frame_is_refused_with_the_remedy(run, tmp_path):
    np.savez(tmp_path / "far.npz", points=3 * np.random.default_rng(0).uniform(-1, 1, (20, 3)))
    output = mmdiff("sample", run, "mode=complete", f"input={tmp_path / 'far.npz'}", f"out={tmp_path}", code=2)
    assert "normalize=global" in output and "Traceback" not in output


def test_given_parts_and_an_assignment_exclude_each_other(tmp_path):
    output = mmdiff(
        "train", f"run={tmp_path / 'r'}", "data=solids", *TINY, *GIVEN, "adapter.coupling.kind=assignment", code=2
    )
    assert "use one" in output


def test_coupled_noise_trains_on_solids_and_their_kinds_are_judged(tmp_path):
    run, out = tmp_path / "r", tmp_path / "s"
    mmdiff("train", f"run={run}", "data=solids", "data.n=20", *TINY, "adapter.coupling.kind=blocks")
    mmdiff("sample", run, "n=3", "cond.solid=cone", "sampler.steps=2", f"out={out}")
    rows = report(out)
    assert rows["real"]["right kind"].value > 0.9 and rows["generated"]["n"] == 3
    assert rows["real"]["CD to the nearest of its kind, median"].high < rows["generated"][
        "CD to the nearest of its kind, median"].low
    output = mmdiff("sample", run, "n=1", "sampler=ddpm", f"out={tmp_path / 'no'}", code=2)
    assert "DDPM adds noise" in output and "coupling.kind=blocks" in output and "Traceback" not in output


def test_judging_counts_the_kind_that_was_asked_for():
    rng = np.random.default_rng(0)
    clouds = rng.normal(size=(4, 50, 3)) * np.array([1, 3, 9, 27])[:, None, None]
    row = summary((clouds + 0.01, ["a", "b", "a", "b"]), (clouds, ["a", "b", "b", "b"]))
    assert row["right kind"].value == 0.75
    assert torch.tensor(row["CD to the nearest of its kind, median"].value) > 0
