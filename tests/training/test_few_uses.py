"""A student of few calls is used as any model: marked, edited, judged, made again, padded, of any network."""

import json

import numpy as np
import pytest
import torch

import mmdiff
from mmdiff import Edit, Request
from mmdiff.cache.paths import SCALE
from mmdiff.cli import embedder
from mmdiff.cli import eval as judge
from mmdiff.core.guidance import Distilled
from mmdiff.core.samplers import Jump
from mmdiff.core.types import Masked
from mmdiff.data.batch import Batch, pad
from mmdiff.data.labels import encode_labels
from mmdiff.generation.finding import find
from mmdiff.generation.reproduce import reproduce
from mmdiff.store import load_model
from mmdiff.testing import Trial
from mmdiff.training.consistent import Scratch
from mmdiff.training.few import Paths
from tests.points.made import chain
from tests.provenance.models import made


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    """The model file of a student of a modality, whose weights are not near zero."""
    there = {}

    def get(modality):
        if modality not in there:
            there[modality] = made(modality, tmp_path_factory.mktemp(modality), "few=scratch")
        return there[modality]

    return get


@pytest.mark.parametrize(("modality", "words", "size", "kept"), [
    ("audio", {"mode": "extend", "keep": 8}, {"seconds": 0.25}, 0),
    ("video", {"mode": "interpolate", "keep": 2}, {"frames": 4}, 4),
    ("points", {"mode": "complete", "keep": 20}, {"points": 48}, 20),
])
def test_it_fills_in_what_is_missing_and_keeps_what_is_given_and_is_made_again(
    file_of, tmp_path, modality, words, size, kept
):
    pipeline, calls = mmdiff.load(file_of(modality), device="cpu"), []
    (start,) = pipeline.save([Request(seed=0)], tmp_path / "start")
    pipeline.model.network.register_forward_hook(lambda *_: calls.append(1))
    one, two = pipeline.sample(2, seed=5, edit=Edit(input=start, **words), **size)
    assert len(calls) == 2 and not torch.equal(one, two) and one.isfinite().all()
    if modality == "video":
        given = pipeline.model.codec.load(start, height=one.shape[2], width=one.shape[3])
        for sample in (one, two):
            torch.testing.assert_close(sample[:, [0, -1]], given[:, :2], atol=1e-5, rtol=0)
    else:                                                             # what is given is common to both
        assert (one == two).all(0).sum() >= kept
    (path,) = pipeline.save([Request(seed=5, edit=Edit(input=start, **words))], tmp_path / "edit")
    assert reproduce(path, file_of(modality), files={"input": start}).equal
    assert json.loads(path.with_suffix(".json").read_text())["sampler"]["_target_"].endswith(".Jump")


@pytest.mark.parametrize("kind", [
    {"_target_": "mmdiff.marks.signs.SignsMark", "bits": 0},
    {"_target_": "mmdiff.marks.latent.LatentMark", "strength": 0.5},
], ids=["signs", "latent"])
@pytest.mark.parametrize("steps", [1, 2])
def test_its_marks_are_found_again(file_of, tmp_path, monkeypatch, kind, steps):
    monkeypatch.setenv("MINE", "letters that nobody guesses")
    file, mark = file_of("points"), {**kind, "secret": "env:MINE"}
    sampler, asked = {"_target_": "mmdiff.core.samplers.Jump", "steps": steps}, Request(seed=7, size={"points": 600})
    marked = mmdiff.load(file, device="cpu", sampler=sampler, mark=mark)
    (path,) = marked.save([asked], tmp_path / "marked")
    (plain,) = mmdiff.load(file, device="cpu", sampler=sampler).save([asked], tmp_path / "plain")
    rows = [{"seed": seed, "size": asked.size} for seed in range(16)]
    (found,), (other,) = (find(p, marked, [marked.mark], rows).values() for p in (path, plain))
    assert found.rate < 1e-6 and other.rate > 1e-4 and found.facts.get("seed", 7) == 7


def test_a_sweep_judges_it_by_its_calls(file_of, tmp_path):
    file, told = file_of("audio"), ["data=notes", "data.n=40", "loader.val=0.25"]
    network = tmp_path / "judge.safetensors"
    assert embedder.main([str(file), f"out={network}", "steps=2", *told]) == 0
    quick = ["evaluation.n=8", "evaluation.references=16", "evaluation.draws=2", f"evaluation.embedder={network}"]
    assert judge.main([str(file), *told, *quick, f"out={tmp_path / 'eval'}", "-m", "sampler.steps=1,2"]) == 0
    rows = [row for row in json.loads((tmp_path / "eval" / "sweep.json").read_text())["rows"] if row["row"] == "model"]
    assert [row["calls"] for row in rows] == [1, 2] and rows[0]["FD-own"] != rows[1]["FD-own"]


def test_the_loss_of_a_path_is_the_same_beside_a_longer_one(file_of):
    model, objective, generator = load_model(file_of("audio"))[0], Paths(calls=4), torch.Generator().manual_seed(0)
    kept = [torch.randn(5 * model.codec.channels, n, generator=generator) for n in (8, 13)]

    def loss(*numbers, masked=True):
        samples = pad([kept[i] for i in numbers])
        labels, scale = encode_labels(model.conditioner.fields, [{}] * len(numbers)), torch.full([len(numbers)], 2.0)
        batch = Batch(samples if masked else Masked(samples.x), {**labels, SCALE: scale}, torch.tensor(numbers))
        return objective.loss(model, objective.draw(model)(batch, 0, batch_size=2))

    torch.testing.assert_close(loss(0, 1), torch.cat([loss(0), loss(1)]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(loss(0, 1, masked=False)[0], loss(0)[0], rtol=1e-2)


SMALL = {
    "video_uvit": ["data=shapes", "adapter.network.widths=[8,8]", "adapter.network.dim=32", "adapter.network.heads=2",
                   "adapter.network.depth=1", "adapter.reader.frames=4", "adapter.reader.height=16",
                   "adapter.reader.width=16", "adapter.conditioner.dim=8"],
    "audio_dit": ["adapter.network.dim=32", "adapter.network.depth=1", "adapter.network.heads=2",
                  "adapter.reader.seconds=0.25", "adapter.conditioner.dim=8"],
    "molecules": ["adapter.network.dim=16", "adapter.network.depth=1", "adapter.conditioner.dim=8"],
}


@pytest.mark.parametrize("adapter", SMALL)
def test_every_network_is_told_of_jumps_and_learns_of_them(adapter, tmp_path):
    for i in range(8):
        (folder := tmp_path / "data" / ("long", "short")[i % 2]).mkdir(parents=True, exist_ok=True)
        elements, places = chain(("CCO", "CO")[i % 2], np.random.default_rng(i))
        rows = [f"{e} {x} {y} {z}" for e, (x, y, z) in zip(elements, places, strict=True)]
        (folder / f"{i}.xyz").write_text("\n".join([str(len(rows)), "", *rows]))
    data = [f"data.root={tmp_path / 'data'}"] if adapter == "molecules" else ["data.n=8"]
    trial = Trial(adapter, [*SMALL[adapter], *data, "loader.limit=8", "few=scratch"], tmp_path)
    trial.model.objective = Scratch()
    model, batch = trial.awake, trial.batch()
    model.loss(batch, 0).mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.jumps.parameters())
    shape = model.codec.latent_shape(**trial.stored["size"])
    calls = []
    model.network.register_forward_hook(lambda *_: calls.append(1))
    weak, strong = (model.latents([{}], [0], shape, sampler=Jump(1), guidance=Distilled(scale)) for scale in (1, 3))
    assert len(calls) == 2 and weak.isfinite().all() and not torch.equal(weak, strong)
