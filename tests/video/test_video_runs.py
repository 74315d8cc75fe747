"""The video adapter through the real command: train on a folder, generate, start from a file."""

import json

import pytest
import torch

from mmdiff.adapters.video.judge import VideoJudge
from mmdiff.adapters.video.reader import read_clip
from mmdiff.adapters.video.shapes import Shapes
from mmdiff.adapters.video.write import write_video
from mmdiff.evaluation.prediction import SEAM, continued, outdone, prediction
from mmdiff.generation.edits import Edit
from mmdiff.generation.pipeline import load
from mmdiff.metrics.bootstrap import Interval
from tests.conftest import mmdiff

TINY = [
    "adapter=video", "adapter.reader.frames=4", "adapter.reader.height=16", "adapter.reader.width=16",
    "adapter.network.dim=32", "adapter.network.depth=2", "adapter.network.heads=2", "adapter.network.patch=[2,4,4]",
    "adapter.conditioner.dim=8", "loader.batch_size=4", "loader.val_samples=2", "preview.n=1", "preview.every=6",
    "validation.every=3", "checkpoint.every=3", "trainer.max_steps=6", "log.every=1", "logger=csv", "trainer=cpu",
]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder for each shape, and files that cannot be used."""
    root, data = tmp_path_factory.mktemp("clips"), Shapes(n=9, frames=10, size=32)
    for i in range(9):
        clip, labels = data.read(i)
        (root / labels["shape"]).mkdir(exist_ok=True)
        write_video(clip, root / labels["shape"] / f"{i}.mp4", 8)
    (root / "disc" / "broken.mp4").write_bytes(b"no video")
    write_video(data.read(0)[0][:, :2], root / "disc" / "short.mp4", 8)
    return root


@pytest.fixture(scope="module")
def run(clips, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "video"
    mmdiff("train", f"run={path}", f"data.root={clips}", *TINY)
    return path


def test_a_folder_trains_and_what_cannot_be_used_is_named(run):
    report = json.loads((run / "data.json").read_text())
    assert report["kept"] == 9
    assert {name.split("/")[-1] for name, _ in report["skipped"]} == {"broken.mp4", "short.mp4"}
    assert "shorter than a clip" in dict(report["skipped"])["disc/short.mp4"]
    assert (run / "previews" / "step-000000006" / "preview.png").exists()


def test_samples_are_films_of_the_size_asked_for(run, tmp_path):
    mmdiff("sample", run, "n=2", "cond.label=disc", "sampler.steps=2", f"out={tmp_path}", "frames=6", "height=24")
    (first, second) = sorted(tmp_path.glob("*.mp4"))
    assert read_clip(first, height=24, width=16).shape == (3, 6, 24, 16)
    facts = json.loads(second.with_suffix(".json").read_text())
    assert facts["size"] == {"frames": 6, "height": 24, "width": 16} and facts["labels"] == {"label": "disc"}
    mmdiff("sample", run, "sampler.steps=2", f"out={tmp_path / 'b'}", "seconds=1", "suffix=.gif")
    assert read_clip(next((tmp_path / "b").glob("*.gif")), height=16, width=16).shape[1] == 8


@pytest.mark.parametrize("frames", [4, 7, 11])
def test_extending_keeps_the_input_and_goes_on_past_the_trained_length(run, clips, frames):
    pipeline, source = load(run), sorted((clips / "disc").glob("0*.mp4"))[0]
    given = pipeline.model.codec.load(source, height=16, width=16)[:, -3:]
    made = pipeline.sample(2, edit=Edit("extend", source, keep=3, overlap=2), frames=frames)
    assert all(x.shape == (3, frames, 16, 16) for x in made)
    for x in made:
        torch.testing.assert_close(x[:, :3], given, atol=1e-5, rtol=0)
    assert not torch.equal(made[0], made[1])


def test_every_mode_through_the_command(run, clips, tmp_path):
    source = sorted((clips / "disc").glob("0*.mp4"))[0]
    common = [f"input={source}", "sampler.steps=2"]
    mmdiff("sample", run, "mode=extend", *common, "keep=1", "seconds=1", f"out={tmp_path / 'a'}")
    mmdiff("sample", run, "mode=interpolate", *common, "keep=4", "frames=7", f"out={tmp_path / 'b'}")
    mmdiff("sample", run, "mode=inpaint", *common, "hole=[0.25,0.75]", f"out={tmp_path / 'c'}")
    assert [read_clip(next((tmp_path / d).glob("*.mp4")), height=16, width=16).shape[1] for d in "abc"] == [8, 7, 10]
    facts = json.loads(next((tmp_path / "b").glob("*.json")).read_text())
    assert facts["edit"]["mode"] == "interpolate" and len(facts["edit"]["input_sha256"]) == 64
    assert "mode=" in mmdiff("sample", run, f"input={source}", code=2)
    assert "ask for more" in mmdiff("sample", run, "mode=extend", *common, "frames=4", code=2)


def test_buckets_of_several_sizes_train_in_one_run(clips, tmp_path):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    data = Shapes(n=6, frames=10, size=32)
    for i in range(3):
        clip = data.read(i)[0]
        write_video(clip, mixed / f"square{i}.mp4", 8)
        write_video(clip[..., :16, :], mixed / f"wide{i}.mp4", 8)
    write_video(data.read(4)[0][:, :1], mixed / "picture.png", 8)
    output = mmdiff(
        "train", f"run={tmp_path / 'run'}", f"data.root={mixed}", *TINY, "loader.budget=4096", "loader.multiple=2",
        "adapter.reader.buckets=[[8,16,16],[4,8,16],[1,16,16]]", "loader.val=0", "trainer.max_steps=5",
    )
    assert "done" in output
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_a_killed_run_continues_bit_for_bit_with_buckets(clips, tmp_path):
    buckets = ["adapter.reader.buckets=[[8,16,16],[4,16,16]]", "loader.budget=8192", "loader.val=0"]
    for name, steps in (("whole", 6), ("parts", 3), ("parts", 6)):
        mmdiff(
            "train", f"run={tmp_path / name}", f"data.root={clips}", *TINY, *buckets, f"trainer.max_steps={steps}",
            "optim.decay=constant",
        )
    whole, parts = (load(tmp_path / name).model.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_predictions_see_nothing_of_what_follows_and_are_judged_beside_what_needs_no_model(run):
    pipeline = load(run, sampler={"_target_": "mmdiff.core.samplers.Euler", "steps": 2})
    x, labels = torch.stack([Shapes(n=8, frames=4, size=16).read(i)[0] for i in range(8)]), [{}] * 8
    made = continued(pipeline, x, labels, given=2, batch_size=3)
    other = torch.cat([x[:, :, :2], -x[:, :, 2:]], 2)
    assert torch.equal(continued(pipeline, other, labels, given=2, batch_size=3), made)
    torch.testing.assert_close(made[:, :, :2], x[:, :, :2], atol=1e-5, rtol=0)
    rows = prediction(pipeline, VideoJudge(), x, labels, given=2, members=2, batch_size=8)
    assert list(rows) == ["model", "last frame", "last frame, moved along", "real"]
    assert rows["last frame"]["jump at the seam"].value == 0 < rows["real"]["jump at the seam"].value
    assert rows["last frame"]["CRPS at +1"].value < rows["last frame"]["CRPS at +2"].value


def test_a_summary_says_what_predicts_as_well_without_the_model_and_that_a_seam_shows():
    low, high = Interval(1.0, 0.9, 1.1), Interval(2.0, 1.9, 2.1)
    model, held, real = {"CRPS": high, SEAM: high}, {"CRPS": low, SEAM: Interval(0, 0, 0)}, {SEAM: low}
    first, second = outdone({"model": model, "last frame": held, "real": real})
    assert "without the model, whose CRPS is 2: last frame 1." in first and "jumps where it begins, by 2" in second
    assert outdone({"model": {"CRPS": low, SEAM: low}, "last frame": {**held, "CRPS": high}, "real": real}) == []
