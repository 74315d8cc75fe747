"""A run that learns a small change of a model: what it saves, how it goes on, and what it refuses."""

import shutil

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from mmdiff.cli import embedder
from mmdiff.config.build import ConfigError
from mmdiff.config.files import MODEL_FILE
from mmdiff.config.header import ModelFileError, read_header
from mmdiff.config.overrides import composed, composition
from mmdiff.generation.autoguidance import RunAutoguidance
from mmdiff.store import load_model
from mmdiff.training.base import base_of
from mmdiff.training.plan import plan
from mmdiff.training.run import assemble, opened
from mmdiff.training.train import train
from tests.conftest import TINY
from tests.training.faults import killed_after
from tests.training.launch import Job
from tests.training.states import state

LOOP = [word for word in TINY if not word.startswith(("adapter.", "data."))]
WORDS = [*LOOP, "validation.every=2", "checkpoint.every=2", "data=notes", "data.n=24", "lora=4", "optim.warmup=1"]
WISH = [{"instrument": "struck"}, {}]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A finished run, for tests that only read it."""
    run = tmp_path_factory.mktemp("runs") / "base"
    train(composed("train", [*TINY, "validation.every=0", "trainer.max_steps=2", "sampler=euler", f"run={run}"]))
    return run


def begin(base, run, *words):
    words = [*WORDS, f"init={base}", f"run={run}", *words]
    train(*composition("train", words))
    return run


def started(base, run, *words):
    """All parts of a run, before its first step."""
    config, record, _ = opened(run, composed("train", [*WORDS, f"init={base}", f"run={run}", *words]), None)
    return assemble(config, run, record=record, base=base_of(config, record, resumed=False))


def latents(model, wish=WISH):
    return model.latents(wish, range(len(wish)), (8,))


@pytest.mark.parametrize("dora", ["false", "true"])
def test_before_the_first_step_it_generates_the_bits_of_the_base(base, tmp_path, dora):
    module = started(base, tmp_path / "run", f"dora={dora}").module
    assert torch.equal(latents(module.averaged.eval()), latents(load_model(base)[0]))


def test_its_model_file_holds_the_change_alone_and_its_checkpoint_what_learns(base, tmp_path):
    run = begin(base, tmp_path / "mine", "trainer.max_steps=4", "preview.every=4", "preview.n=2")
    tensors, header = load_file(run / MODEL_FILE), read_header(run / MODEL_FILE)
    assert {name.rpartition(".")[2] for name in tensors} == {"lora_A", "lora_B"}
    assert (header["step"], header["bases"][0]["sha256"]) == (4, read_header(base / MODEL_FILE)["sha256"])
    held = state(run)["state_dict"]
    learned = [name for name in held if name.startswith("model.denoiser") and "parts" in name]
    assert len(learned) == len(tensors)
    assert not [name for name in held if name.endswith(("original", "norm.weight", "stem.bias"))]
    assert (run / "previews" / "step-000000004" / "preview.png").exists()
    again, own = load_model(run)[0], load_model(base)[0]
    assert not torch.equal(latents(again), latents(own))
    assert torch.equal(latents(load_model(base, lora={run: 1.0})[0]), latents(again))
    assert torch.equal(latents(load_model(base, lora={run: 0.0})[0]), latents(own))


def test_it_goes_on_to_the_bits_of_the_run_that_was_not_stopped(base, tmp_path):
    whole = begin(base, tmp_path / "whole", "trainer.max_steps=6", "dora=true")
    part = tmp_path / "part"
    Job("train", *WORDS, f"init={base}", f"run={part}", "trainer.max_steps=6", "dora=true", fault=killed_after(3),
        output=tmp_path).wait(-9)
    train(composed("train", [f"run={part}"]), [])
    assert (part / MODEL_FILE).read_bytes() == (whole / MODEL_FILE).read_bytes()
    assert (part / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


@pytest.mark.parametrize("trainer", [pytest.param("ddp_cpu", marks=pytest.mark.slow), "fsdp_cpu"])
def test_two_processes_that_were_killed_go_on_to_the_bits_of_those_that_were_not(base, tmp_path, trainer):
    words = [*WORDS, f"init={base}", f"trainer={trainer}", "trainer.max_steps=6"]
    whole, part = tmp_path / "whole", tmp_path / "part"
    Job("train", *words, f"run={whole}", world=2, output=tmp_path).wait()
    Job("train", *words, f"run={part}", world=2, fault=killed_after(3), output=tmp_path).wait(-9)
    Job("train", f"run={part}", world=2, output=tmp_path).wait()
    assert (part / MODEL_FILE).read_bytes() == (whole / MODEL_FILE).read_bytes()
    alone = begin(base, tmp_path / "alone", "trainer.max_steps=6")
    both = load_file(whole / MODEL_FILE)
    for name, tensor in load_file(alone / MODEL_FILE).items():
        torch.testing.assert_close(both[name], tensor, rtol=1e-3, atol=1e-5)


def test_new_classes_learn_rows_of_their_own(tmp_path):
    def sounds(root, *classes):
        for i in range(12 * len(classes)):
            path = root / classes[i % len(classes)] / f"{i}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.sin(np.arange(2000) * (0.02 + 0.01 * i)) * np.linspace(0.8, 0, 2000), 8000)
        return f"data.root={root}"

    words = [word for word in TINY if not word.startswith("data.")]
    old, run = tmp_path / "old", tmp_path / "mine"
    train(composed("train", [*words, sounds(tmp_path / "a", "kick", "snare"), f"run={old}", "trainer.max_steps=2"]))
    words = [*LOOP, f"init={old}", f"run={run}", "trainer.max_steps=4", "lora=2"]
    train(composed("train", [*words, sounds(tmp_path / "b", "bell", "kick")]))
    tensors = {name: value for name, value in load_file(run / MODEL_FILE).items() if name.startswith("conditioner")}
    assert [(name, tuple(value.shape)) for name, value in tensors.items()] == [
        ("conditioner.embeddings.of_label.rows", (1, 16))]
    assert next(iter(tensors.values())).abs().sum() > 0
    model, before = load_model(run)[0], load_model(old)[0]
    assert list(model.conditioner.fields["label"]) == ["kick", "snare", "bell"]
    both = [m.conditioner.embeddings["of_label"].weight for m in (before, model)]
    assert torch.equal(both[0], both[1][[0, 1, 3]])


def test_chosen_layers_alone_are_changed(base, tmp_path):
    parts = started(base, tmp_path / "run", "train.only=[network.attention, down.0]")
    learned = {n for n, p in parts.module.model.trainable.named_parameters() if p.requires_grad}
    assert learned and all(name.startswith(("network.attention.", "network.down.0.")) for name in learned)
    optimizer, _ = parts.module.optim(parts.module.model, steps=4)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(learned)
    average = dict(next(iter(parts.module.ema.values())).average.named_parameters())
    shared = [name for name, p in parts.module.model.trainable.named_parameters() if average[name] is p]
    assert set(shared) == set(average) - learned, "an average has no copy of what does not learn"


def test_it_is_planned_and_judged_as_any_run(base, tmp_path):
    assert embedder.main([str(base), f"out={tmp_path / 'judge.safetensors'}", "steps=2"]) == 0
    words = [*WORDS, f"init={base}", f"run={tmp_path / 'run'}", "trainer.max_steps=4", "preview.n=2", "loader.val=0.4",
             f"quality.embedder={tmp_path / 'judge.safetensors'}",
             "quality.every=2", "quality.n=8", "quality.references=16", "quality.patience=9", "preview.every=2"]
    assert plan(composed("train", words)).disk > 0
    train(composed("train", words))
    header = read_header(tmp_path / "run" / MODEL_FILE)
    assert "best" in header and "base" in header
    assert "quality/FD" in (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0]


def test_a_change_of_a_change_is_a_chain_of_bases(base, tmp_path):
    first = begin(base, tmp_path / "first", "trainer.max_steps=2")
    second = begin(first, tmp_path / "second", "trainer.max_steps=2")
    bases = read_header(second / MODEL_FILE)["bases"]
    assert [facts["name"] for facts in bases] == ["first", "base"]
    assert not torch.equal(latents(load_model(second)[0]), latents(load_model(first)[0]))


def test_the_base_must_be_there_and_the_one_that_it_was(base, tmp_path):
    own = tmp_path / "base"
    shutil.copytree(base, own)
    run = begin(own, tmp_path / "mine", "trainer.max_steps=2")
    own.rename(tmp_path / "moved")
    with pytest.raises(ModelFileError, match=r"is a change of base .step 2, .* which is not at .*base="):
        load_model(run)
    assert load_model(run, base=tmp_path / "moved")[1]["step"] == 2
    assert RunAutoguidance(run, base=tmp_path / "moved").model.fields == load_model(base)[0].fields
    with pytest.raises(ModelFileError, match="which is not at .*base="):
        started(run, tmp_path / "next")
    module = started(run, tmp_path / "next", f"base={tmp_path / 'moved'}").module
    assert torch.equal(latents(module.averaged.eval()), latents(load_model(run, base=tmp_path / "moved")[0]))
    with pytest.raises(ModelFileError, match="no model at.*init= names its place where it has moved"):
        begin(own, run, "trainer.max_steps=4")
    begin(tmp_path / "moved", run, "trainer.max_steps=4")
    assert load_model(run)[1]["step"] == 4, "the run knows where its base is now"


@pytest.mark.parametrize(("words", "told"), [
    (["init=null"], "lora= leaves the rest as it is in the model of init=, so name that too"),
    (["lora=null", "dora=true"], "dora=true is a kind of low-rank change: give it a rank"),
    (["train.only=[attentoin]"], "no part of the model is named 'attentoin'"),
    (["train.only=[norm]"], "no part of the model is named 'norm'"),
    (["lora=-1"], "lora is a whole number, at least 0"),
    (["lora=0"], "lora=0 learns the rows of new classes alone, and the data have none"),
])
def test_mistakes_are_told_before_any_work(base, tmp_path, words, told):
    with pytest.raises(ConfigError, match=told):
        begin(base, tmp_path / "run", *words)


def test_what_learns_is_kept_by_a_run_that_goes_on(base, tmp_path):
    run = begin(base, tmp_path / "mine", "trainer.max_steps=2")
    for word in ("lora=8", "dora=true", "train.only=[attention]"):
        with pytest.raises(ConfigError, match=f"keeps {word.partition('=')[0]}="):
            begin(base, run, word, "trainer.max_steps=4")
