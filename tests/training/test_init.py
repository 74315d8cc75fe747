"""A run that starts from a model: what it takes over, what it grows, and what it refuses."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch

from mmdiff.config.build import ConfigError
from mmdiff.config.header import ModelFileError
from mmdiff.config.overrides import combinations, composed, composition
from mmdiff.config.record import read_record
from mmdiff.core.schedules import VarianceExploding
from mmdiff.data.labels import TEXT, grown
from mmdiff.store import load_model, save_model
from mmdiff.training.base import base_of
from mmdiff.training.checkpoints import latest
from mmdiff.training.run import assemble, opened
from mmdiff.training.train import train
from tests.conftest import TINY

LOOP = [word for word in TINY if not word.startswith(("adapter.", "data."))]
WORDS = [*LOOP, "validation.every=0", "checkpoint.every=2"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A finished run of its own choices, for tests that only read it."""
    run = tmp_path_factory.mktemp("runs") / "base"
    train(composed("train", [*TINY, *WORDS, "trainer.max_steps=2", "sampler=euler", f"run={run}"]))
    return run


def begin(*words):
    train(*composition("train", [*WORDS, *words]))


def started(base, run, *words):
    """All parts of a run that would start from ``base``, before its first step."""
    config, record, _ = opened(run, composed("train", [*WORDS, f"init={base}", f"run={run}", *words]), None)
    return assemble(config, run, record=record, base=base_of(config, record, resumed=False))


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A folder with classes that the base never heard of."""
    root = tmp_path_factory.mktemp("sounds")
    for i in range(12):
        (root / (name := ("kick", "snare")[i % 2])).mkdir(exist_ok=True)
        soundfile.write(root / name / f"{i}.wav", np.sin(np.arange(2000) * (0.02 + 0.01 * i)), 8000)
    return root


def test_what_is_not_named_again_is_the_base_s(base, tmp_path):
    config = composed("train", ["data=notes", f"init={base}", f"run={tmp_path / 'r'}", "adapter.reader.seconds=0.5"])
    assert config.adapter.network.base == 8 and config.sampler._target_.endswith("Euler")
    assert config.adapter.reader.seconds == 0.5 and "fields" not in config.adapter.conditioner
    named = composed("train", ["data=notes", f"init={base}", "sampler=ddim", "experiment=audio/demo"])
    assert named.sampler._target_.endswith("DDIM") and named.adapter.network.base == 8


def test_another_schedule_takes_the_place_of_the_base_s_and_is_told(base, tmp_path):
    parts, own = started(base, tmp_path / "run", "data=notes", "data.n=20", "diffusion=edm"), load_model(base)[0]
    assert type(parts.module.model.denoiser.schedule) is VarianceExploding is not type(own.denoiser.schedule)
    assert all(map(torch.equal, parts.module.model.network.state_dict().values(), own.network.state_dict().values()))
    assert "diffusion.schedule._target_ is mmdiff.core.schedules.VarianceExploding, was" in parts.start


@pytest.mark.parametrize("new", [False, True], ids=["equal fields", "a new field"])
def test_before_the_first_step_it_generates_the_bits_of_the_base(base, sounds, tmp_path, new):
    parts = started(base, tmp_path / "run", *([f"data.root={sounds}"] if new else ["data=notes", "data.n=20"]))
    save_model(parts.module.averaged, parts.stored, tmp_path / "zero.safetensors", step=0)
    (zero, grown), (own, header) = load_model(tmp_path / "zero.safetensors"), load_model(base)
    known = header["config"]["adapter"]["conditioner"]["fields"]
    wishes = [{"instrument": name, "pitch": 60} for name in known["instrument"]] + [{"pitch": 52.5}, {}]
    made = [model.latents(wishes, range(len(wishes)), (8,)) for model in (zero, own)]
    assert torch.equal(*made)
    assert grown["config"]["adapter"]["conditioner"]["fields"] == known | ({"label": ["kick", "snare"]} if new else {})
    assert all(torch.equal(v, zero.codec.state_dict()[k]) for k, v in own.codec.state_dict().items()), "its whitening"
    told = "instrument is not told; pitch is not told; label is new"
    assert parts.start.endswith(told if new else "differs: nothing")


def test_the_first_line_says_what_differs_and_files_name_the_chain(base, tmp_path, capsys):
    begin("data=notes", "data.n=20", f"init={base}", f"run={tmp_path / 'a'}", "trainer.max_steps=2", "optim.lr=1e-2")
    assert "differs: nothing" in capsys.readouterr().out.splitlines()[0]
    begin("data=notes", "data.n=20", f"init={tmp_path / 'a'}", "adapter.reader.seconds=0.5", "trainer.max_steps=2",
          f"run={tmp_path / 'b'}")
    assert "adapter.reader.seconds is 0.5, was 0.25" in capsys.readouterr().out.splitlines()[0]
    _, header = load_model(tmp_path / "b")
    own = load_model(base)[1]
    assert [link["name"] for link in header["bases"]] == ["a", "base"]
    assert header["bases"][1] == {"name": "base", "sha256": own["sha256"], "step": 2}
    assert read_record(tmp_path / "b").bases == header["bases"]


def test_a_run_with_new_classes_goes_on_without_its_base_bit_for_bit(base, sounds, tmp_path):
    words = [f"data.root={sounds}", "optim.decay=constant"]
    moved = shutil.copytree(base, tmp_path / "base")
    begin(*words, f"init={moved}", "trainer.max_steps=4", f"run={tmp_path / 'straight'}")
    begin(*words, f"init={moved}", "trainer.max_steps=2", f"run={tmp_path / 'parts'}")
    shutil.rmtree(moved)
    begin(*words, f"init={moved}", "trainer.max_steps=4", f"run={tmp_path / 'parts'}")
    one, other = (load_model(tmp_path / name) for name in ("straight", "parts"))
    assert one[1]["sha256"] == other[1]["sha256"] and latest(tmp_path / "parts" / "checkpoints")[1] == 4
    with pytest.raises(ConfigError, match="keeps init="):
        begin(f"run={tmp_path / 'parts'}", "init=null", "trainer.max_steps=5")


def test_classes_and_fields_grow_by_name():
    base = {"speaker": ["b", "a"], "pitch": (0.0, 1.0)}
    assert grown(base, {"style": ["x"], "speaker": ["a", "c"], "pitch": (-1.0, 0.5)}) == {
        "speaker": ["b", "a", "c"], "pitch": (0.0, 1.0), "style": ["x"]
    }
    with pytest.raises(ValueError, match="speaker is a class to the model"):
        grown(base, {"speaker": (0.0, 3.0)})
    with pytest.raises(ValueError, match=r"caption is a text, .* cannot be added.*captions=false.* without init="):
        grown(base, {"caption": TEXT})


@pytest.mark.parametrize(("words", "match"), [
    (["adapter.codec.mel=speech_8k_48"], r"own codec: adapter\.codec\.mel is speech_8k there, speech_8k_48 here"),
    (["adapter.network.base=16"], r"network, which adapter\.network\.base would change: \d+ of \d+ tensors"),
    (["adapter=points", "data=solids"], "latents of MelCodec, and adapter.codec is PointCodec"),
    (["adapter.conditioner.dim=8"], "tensors find no place"),
])
def test_what_does_not_fit_is_named(base, tmp_path, words, match):
    with pytest.raises(ConfigError, match=match):
        started(base, tmp_path / "run", *([] if "data=solids" in words else ["data=notes"]), "data.n=20", *words)


def test_a_cut_foreign_or_newer_file_is_refused_by_name(base, tmp_path):
    whole = (base / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    (tmp_path / "foreign.safetensors").write_bytes(whole.replace(b'"mmdiff"', b'"mmdoff"', 1))
    (tmp_path / "newer.safetensors").write_bytes(whole.replace(rb'\"format\": 1', rb'\"format\": 9', 1))
    for name, why in (("cut", "damaged"), ("foreign", "not written by mmdiff"), ("newer", "update mmdiff")):
        with pytest.raises(ModelFileError, match=rf"{name}\.safetensors .*{why}"):
            composed("train", ["data=notes", f"init={tmp_path / name}.safetensors"])
    with pytest.raises(ModelFileError, match="no model at"):
        composed("train", ["data=notes", f"init={tmp_path / 'none'}"])


def test_a_model_that_was_told_nothing_takes_no_labels(sounds, tmp_path):
    words = [*(word for word in TINY if not word.startswith("data.")), "validation.every=0", f"data.root={sounds}"]
    train(composed("train", [*words, "data.labels=[]", "trainer.max_steps=1", f"run={tmp_path / 'base'}"]))
    with pytest.raises(ConfigError, match=r"has no place for label: with data\.labels=\[\] it goes on so"):
        started(tmp_path / "base", tmp_path / "run", f"data.root={sounds}")
    parts = started(tmp_path / "base", tmp_path / "run", f"data.root={sounds}", "data.labels=[]")
    assert parts.module.dataset.fields == {}


def test_a_sweep_may_start_from_several_models(base, tmp_path):
    other = shutil.copytree(base, tmp_path / "other")
    runs = combinations("train", ["data=notes", f"init={base},{other}", "adapter.network.blocks=1", "seed=0,1"])
    assert [(run["init"], run["seed"]) for run in runs] == [(str(b), s) for b in (base, other) for s in "01"]


def test_another_model_in_the_place_of_the_base_is_told(base, tmp_path):
    moved = shutil.copytree(base, tmp_path / "base")
    run = tmp_path / "run"
    begin("data=notes", "data.n=20", f"init={moved}", "trainer.max_steps=2", f"run={run}")
    told = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(told | {"bases": [told["bases"][0] | {"sha256": "0" * 64}]}))
    with pytest.raises(ConfigError, match="started from base of hash 00000000, and"):
        begin(f"run={run}", f"init={shutil.copytree(base, tmp_path / 'other')}", "trainer.max_steps=4")


@pytest.mark.parametrize(("words", "match"), [
    (["guidance=several", "guidance.scales={mood: 2}"], "guidance.scales: the model has no field or map 'mood'"),
    (["loader.tags._target_=mmdiff.data.captions.Tags"], "loader.tags words captions, and the data have none"),
    (["train.only=[network.stem]"], "train.only= leaves out conditioner.embeddings.of_label.* would never be learned"),
])
def test_what_would_be_of_no_effect_is_told_before_the_training(base, sounds, tmp_path, words, match):
    with pytest.raises(ConfigError, match=match):
        train(composed("train", [*LOOP, f"data.root={sounds}", f"init={base}", f"run={tmp_path / 'r'}", *words]))
    assert not (tmp_path / "r" / "checkpoints").exists()
