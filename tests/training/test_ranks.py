"""Several processes train the model that one process trains, from the same samples, noise, times and hidden labels."""

import csv
import hashlib
import json
import os
from functools import partial

import pytest
import torch

import mmdiff
from mmdiff.adapters.conditioners import Labels
from mmdiff.adapters.video.shapes import Shapes
from mmdiff.adapters.video.write import write_video
from mmdiff.core.loss import DiffusionLoss
from mmdiff.data import loaders
from tests.conftest import TINY
from tests.training.launch import Job
from tests.training.states import state

STEPS = 8
COMMON = [
    "preview.n=0", "validation.every=4", f"checkpoint.every={STEPS}", "log.every=1", "logger=csv",
    "loader.val_samples=4", f"trainer.max_steps={STEPS}", "optim.warmup=2",
]
ADAPTERS = {
    "audio": [*TINY, "data.n=24", "adapter.network.groups=4", *COMMON],
    "video": [
        "adapter=video", "data.root=CLIPS", "adapter.network.dim=16", "adapter.network.depth=2",
        "adapter.network.heads=2", "adapter.network.patch=[2,8,8]", "adapter.conditioner.dim=8",
        "adapter.reader.buckets=[[4,16,16],[2,16,16]]", "loader.budget=4096", *COMMON,
    ],
    "points": [
        "adapter=points", "data.n=21", "adapter.reader.points=32", "adapter.network.dim=16", "adapter.network.depth=2",
        "adapter.network.heads=2", "adapter.conditioner.dim=8", "loader.batch_size=8", *COMMON,
    ],
}


def record(folder):
    """Write down what every training loss is computed from, and every sample that is read for training."""
    inner, read, hide, hidden = DiffusionLoss.__call__, loaders._Draws.__getitem__, Labels.hide, {}

    def hiding(self, labels, u):
        hidden.clear()
        hidden.update(hide(self, labels, u))
        return dict(hidden)

    def loss(self, denoiser, x0, *, eps, t, cond):
        if torch.is_grad_enabled():
            told = [[f"{name}={value[i].item()}" for name, value in sorted(hidden.items())] for i in range(len(eps))]
            samples = [[digest(x0.x[i]), digest(eps[i]), str(t[i].tolist()), *told[i]] for i in range(len(eps))]
            with (folder / f"seen-{os.environ.get('RANK', 0)}.jsonl").open("a") as file:
                file.write(json.dumps(samples) + "\n")
            torch.save(eps.flatten(1)[:, :96], folder / f"noise-{digest(eps)}.pt")
        return inner(self, denoiser, x0, eps=eps, t=t, cond=cond)

    def item(self, key):
        if self.random:
            with (folder / "read.csv").open("a") as file:
                file.write(f"{key[0]},{key[1]}\n")
        return read(self, key)

    DiffusionLoss.__call__, loaders._Draws.__getitem__, Labels.hide = loss, item, hiding


def steps(run):
    """What each step was computed from, over all ranks, in one order."""
    ranks = [[json.loads(line) for line in p.read_text().splitlines()] for p in run.glob("seen-*.jsonl")]
    return [sorted(sample for part in parts for sample in part) for parts in zip(*ranks, strict=True)]


def digest(tensor):
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:16]


def rows(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def losses(run, column="loss"):
    return [float(row[column]) for row in rows(run) if row[column]]


def clips(folder):
    """Films of two lengths, which go into two buckets."""
    folder.mkdir()
    for i in range(14):
        clip, _ = Shapes(n=14, frames=6, size=16).read(i)
        write_video(clip if i % 3 else clip[:, :3], folder / f"{i}.mp4", 8)
    return folder


@pytest.fixture(scope="module", params=["audio", "video", pytest.param("points", marks=pytest.mark.slow)])
def cells(request, tmp_path_factory):
    """One run in 1 process, in 2 with the whole model each, in 2 with a part each, and its first steps in 4."""
    folder = tmp_path_factory.mktemp(request.param)
    films = clips(folder / "clips")
    settings = [word.replace("CLIPS", str(films)) for word in ADAPTERS[request.param]]
    for name, world, overrides in (
        ("one", 1, ["trainer=cpu"]), ("ddp", 2, ["trainer=ddp_cpu"]), ("fsdp", 2, ["trainer=fsdp_cpu"]),
        ("four", 4, ["trainer=ddp_cpu", "trainer.devices=4", "trainer.max_steps=3", "validation.every=0"]),
    ):
        (folder / name).mkdir()
        fault = partial(record, folder / name)
        Job("train", f"run={folder / name}", *settings, *overrides, world=world, fault=fault, output=folder).wait()
    return folder


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_loss_weights_and_averages_agree_with_one_process(cells, name):
    assert len(losses(cells / "one")) == STEPS and len(losses(cells / "one", "val/loss")) == 2
    for column in ("loss", "val/loss"):
        assert losses(cells / name, column) == pytest.approx(losses(cells / "one", column), rel=1e-5, abs=1e-5)
    one, other = (state(cells / which)["state_dict"] for which in ("one", name))
    assert one.keys() == other.keys() and any(key.startswith("ema.main.average") for key in one)
    for key, value in one.items():
        torch.testing.assert_close(other[key], value, rtol=1e-5, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")
    assert mmdiff.load(cells / name, device="cpu").sample(1)[0].isfinite().all()


@pytest.mark.parametrize("name", ["ddp", "fsdp", "four"])
def test_samples_noise_times_and_hidden_labels_are_the_same_to_the_last_bit(cells, name):
    one, other = steps(cells / "one"), steps(cells / name)
    assert other == one[: len(other)] and len(other) == (3 if name == "four" else STEPS)


def test_no_two_samples_of_any_rank_share_noise(cells):
    noise = torch.cat([torch.load(p) for p in sorted((cells / "four").glob("noise-*.pt"))])
    noise = torch.nn.functional.normalize(noise - noise.mean(1, keepdim=True), dim=1)
    correlation = (noise @ noise.T).fill_diagonal_(0).abs().max()
    assert correlation < 6 / noise.shape[1] ** 0.5


@pytest.mark.parametrize("name", ["one", "ddp", "fsdp"])
def test_every_sample_is_read_once_an_epoch(cells, name):
    pairs = sorted({tuple(map(int, line.split(","))) for line in (cells / name / "read.csv").read_text().split()})
    assert [draw for draw, _ in pairs] == list(range(len(pairs)))
    members = {index for _, index in pairs}
    assert members == set(range(len(members)))
    if "video" in str(cells):
        return                                                        # epochs are those of a bucket: see test_stream
    n = len(members)
    assert len(pairs) > 2 * n
    for epoch in range(len(pairs) // n):
        assert sorted(index for _, index in pairs[epoch * n : (epoch + 1) * n]) == list(range(n))
