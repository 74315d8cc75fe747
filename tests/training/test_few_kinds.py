"""Students of every kind of model: films of several sizes, films that are given frames, sets paired with their noise,
molecules, maps, small changes. Each learns jumps and generates in one call by the command, or is refused by name."""

import json

import numpy as np
import pytest
import torch

from mmdiff.adapters.video.shapes import Shapes
from mmdiff.adapters.video.write import write_video
from mmdiff.cli import sample
from mmdiff.config.build import ConfigError
from mmdiff.config.files import MODEL_FILE
from mmdiff.config.header import read_header
from mmdiff.config.overrides import completed, composed
from mmdiff.core.samplers import Jump
from mmdiff.store import load_model
from mmdiff.training.plan import plan
from mmdiff.training.train import train
from tests.points.made import chain

LOOP = [
    "loader.batch_size=4", "loader.val=0", "trainer.max_steps=2", "preview.n=0", "validation.every=0", "log.every=1",
    "optim.lr=0.02", "optim.warmup=1", "logger=csv", "trainer=cpu",
]
DIT = ["adapter.network.dim=32", "adapter.network.depth=1", "adapter.network.heads=2", "adapter.conditioner.dim=8"]
FILMS = ["adapter=video", *DIT, "adapter.network.patch=[2,4,4]", "adapter.reader.frames=4", "adapter.reader.height=16",
         "adapter.reader.width=16"]
SETS = ["adapter=points", "data.n=12", *DIT, "adapter.reader.points=32", "adapter.coupling.kind=assignment"]
FEW = ["few.n=12", "few.calls=4"]


def trained(*words):
    train(composed("train", [*words]), completed("train", [*words]))


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """A teacher of each kind."""
    root, data = tmp_path_factory.mktemp("teachers"), Shapes(n=8, frames=6, size=16)
    for i in range(8):
        (folder := root / "clips" / ("long", "short")[i % 2]).mkdir(parents=True, exist_ok=True)
        write_video(data.read(i)[0][:, : (6, 2)[i % 2]], folder / f"{i}.mp4", 8)
    trained(*FILMS, "data.n=12", "data.size=16", "data.frames=4", *LOOP, f"run={root / 'films'}")
    trained(*FILMS, "adapter.given=null", "adapter.reader.buckets=[[4,16,16],[2,16,16]]", f"data.root={root / 'clips'}",
            "loader.budget=4096", *LOOP, f"run={root / 'sizes'}")
    trained(*SETS, *LOOP, f"run={root / 'sets'}")
    for i in range(8):
        (folder := root / "xyz" / ("long", "short")[i % 2]).mkdir(parents=True, exist_ok=True)
        elements, places = chain(("CCO", "CO")[i % 2], np.random.default_rng(i))
        rows = [f"{e} {x} {y} {z}" for e, (x, y, z) in zip(elements, places, strict=True)]
        (folder / f"{i}.xyz").write_text("\n".join([str(len(rows)), "", *rows]))
    trained("adapter=molecules", "adapter.network.dim=16", "adapter.network.depth=1", "adapter.conditioner.dim=8",
            f"data.root={root / 'xyz'}", *LOOP, f"run={root / 'molecules'}")
    trained("adapter=audio", "adapter/controls=loudness", "data.n=12", "adapter.network.base=8",
            "adapter.network.multipliers=[1,2]", "adapter.conditioner.dim=8", "adapter.reader.seconds=0.25",
            "adapter.codec.vocoder.n_iter=2", *LOOP, f"run={root / 'maps'}")
    return root


def student(teachers, kind, run, *words):
    trained(f"init={teachers / kind}", *LOOP, f"run={run}", *words)
    return load_model(run)[0]


def made(run, *words):
    """What the command makes in one call, and what it says of it."""
    assert sample.main([f"run={run}", "n=2", "sampler.steps=1", f"out={run / 'made'}", *words]) == 0
    facts = [json.loads(path.read_text()) for path in sorted((run / "made").glob("*.json")) if "seed" in path.name]
    assert len(facts) == 2 and all(fact["sampler"]["steps"] == 1 for fact in facts)
    return facts


@pytest.mark.parametrize(("kind", "words", "asked"), [
    ("films", ["few=paths", *FEW, "adapter.given=null"], ["frames=6"]),
    ("films", ["few=consistent"], []),
    ("films", ["few=scratch", "init=null", *FILMS, "data=shapes", "data.n=12", "data.size=16", "data.frames=4",
               "trainer.max_steps=4"], []),
    ("sizes", ["few=paths", *FEW], ["frames=2"]),
    ("sets", ["few=paths", *FEW], ["points=24"]),
    ("sets", ["few=consistent"], []),
    ("sets", ["few=scratch", "init=null", *SETS, "trainer.max_steps=4"], []),
    ("molecules", ["few=paths", *FEW], ["points=5"]),
    ("maps", ["few=consistent"], []),
], ids=lambda part: part[0] if isinstance(part, list) and part else None)
def test_every_kind_learns_jumps_and_the_command_makes_samples_of_it_in_one_call(
    teachers, tmp_path, kind, words, asked
):
    run = tmp_path / "run"
    learned = student(teachers, kind, run, *words)
    assert learned.jumps.mlp[2].weight.abs().max() > 0
    made(run, *asked)


def test_paths_are_of_the_sizes_of_the_data(teachers, tmp_path):
    from mmdiff.training.base import base_of
    from mmdiff.training.run import assemble, opened

    words = [f"init={teachers / 'sizes'}", *LOOP, "few=paths", *FEW, f"run={tmp_path / 'run'}"]
    config, record, _ = opened(tmp_path / "run", composed("train", words), None)
    parts = assemble(config, tmp_path / "run", record=record, base=base_of(config, record, resumed=False))
    paths = parts.module.dataset
    assert {paths.read(i)[0].shape for i in range(12)} == {(15, 4, 16, 16), (15, 2, 16, 16)}


def test_a_plan_asks_the_samples_for_buckets_and_not_the_few_paths_that_it_makes(teachers, tmp_path):
    words = [f"init={teachers / 'sizes'}", *LOOP, "few=paths", "few.n=1", "few.calls=4", f"run={tmp_path / 'run'}"]
    assert plan(composed("train", words)).counts["path"] == 2         # of 2 sizes, and one is for validation


def test_a_student_of_films_that_are_given_frames_still_is_given_them_where_it_learned_so(teachers, tmp_path):
    learned = student(teachers, "films", tmp_path / "run", "few=consistent")
    shape = learned.codec.latent_shape(frames=4, height=16, width=16)
    known = torch.randn(1, learned.codec.channels, *shape)
    mask = torch.zeros(1, 1, *shape, dtype=torch.bool)
    mask[:, :, :1] = True
    from mmdiff.core.types import Masked

    x0 = learned.latents([{}], [0], shape, sampler=Jump(1), known=Masked(known, mask))
    assert torch.equal(x0[:, :, :1], known[:, :, :1]) and x0.isfinite().all()


def test_a_small_change_learns_of_paths(teachers, tmp_path):
    student(teachers, "sets", tmp_path / "run", "few=paths", *FEW, "lora=2")
    assert "base" in read_header(tmp_path / "run" / MODEL_FILE)
    made(tmp_path / "run", f"base={teachers / 'sets' / MODEL_FILE}")


@pytest.mark.parametrize(("kind", "words", "match"), [
    ("films", ["few=paths"], r"also follows frames that are given: take few=consistent, or adapter.given=null"),
    ("maps", ["few=paths"], "also follows maps: take few=consistent"),
])
def test_what_paths_do_not_tell_is_refused_by_name(teachers, tmp_path, kind, words, match):
    with pytest.raises(ConfigError, match=match):
        student(teachers, kind, tmp_path / "run", *words)


def test_a_set_paired_with_its_noise_takes_no_noise_on_the_way(teachers, tmp_path):
    learned = student(teachers, "sets", tmp_path / "run", "few=paths", *FEW)
    with pytest.raises(ValueError, match=r"Jump adds noise, and this model learned from points that were paired"):
        learned.latents([{}], [0], (32,), sampler=Jump(2, renoise=0.5))
