"""A model that grows: what it was asked before, it answers with the same bits."""

import json

import torch

from mmdiff.config.adapter import build_codec, build_learner
from mmdiff.config.overrides import composed
from mmdiff.config.record import DATA_FILE
from mmdiff.core.samplers import Auto
from mmdiff.data.labels import grown, is_scalar
from mmdiff.store import load_model, save_model
from mmdiff.testing import Trial
from mmdiff.testing.trial import SETTINGS
from mmdiff.training.base import Base, inherit
from mmdiff.training.train import train


def assert_grows(trial: Trial) -> None:
    """Give the model of an adapter on trial another class in each field, and two fields more."""
    path = trial.folder / "base.safetensors"
    save_model(trial.awake, trial.stored, path, step=0)
    base = Base(path, *load_model(path))
    told = trial.dataset.fields
    more = {name: field if is_scalar(field) else [*field, "one more"] for name, field in told.items()}
    fields = grown(told, {**more, "style": ["a", "b"], "tempo": (1.0, 2.0)})
    config = composed("train", [f"init={path}"])
    codec, reader = build_codec(config.adapter)
    model = build_learner(config, codec, reader, fields=fields).eval()
    inherit(model, base, config)
    rows = [trial.dataset.read(i)[1] for i in range(2)] + [{}]
    shape = codec.latent_shape(**trial.stored["size"])
    now, before = (part.latents(rows, [0, 1, 2], shape, sampler=Auto(steps=2)) for part in (model, base.model))
    assert torch.equal(now, before) and now.isfinite().all()
    wish = {name: "one more" for name, field in told.items() if not is_scalar(field)}
    new = model.latents([wish], [2], shape, sampler=Auto(steps=2))
    assert not torch.equal(new[0], before[2])


def assert_learns_a_subject(trial: Trial) -> None:
    """Let the model of an adapter on trial learn a new class from four files, beside samples of its own."""
    path, files, run = trial.folder / "base.safetensors", trial.folder / "files", trial.folder / "mine"
    save_model(trial.awake, {**trial.stored, "sampler": {**trial.stored["sampler"], "steps": 2}}, path, step=0)
    base, header = load_model(path)
    field = next(name for name, one in base.conditioner.fields.items() if not is_scalar(one))
    files.mkdir()
    for i in range(4):
        trial.codec.save(trial.dataset.read(i)[0], files / f"{i}{trial.codec.suffix}")
    words = [f"init={path}", "experiment=personal", f"data.root={files}", f"subject={field}:one more", f"run={run}",
             "lora=2", "prior.n=6", "trainer.max_steps=2", *SETTINGS, "loader.limit=null", "data.consent=given"]
    train(composed("train", words))
    model, own = load_model(run)
    assert own["consent"] == "given" and list(model.conditioner.fields[field])[-1] == "one more"
    names = json.loads((run / DATA_FILE).read_text())["training"]
    assert (len(names), sum(name.startswith(header["sha256"][:8]) for name in names)) == (10, 6)
    rows, shape = [trial.dataset.read(i)[1] for i in range(2)] + [{}], trial.codec.latent_shape(**trial.stored["size"])
    off = load_model(path, lora={run: 0.0})[0]
    before, now, same = (part.latents(rows, [0, 1, 2], shape, sampler=Auto(steps=2)) for part in (base, model, off))
    assert torch.equal(before, same) and not torch.equal(before, now) and now.isfinite().all()
