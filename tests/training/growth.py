"""A model that grows: what it was asked before, it answers with the same bits."""

import torch

from mmdiff.config.adapter import build_adapter, build_codec, build_model
from mmdiff.config.overrides import composed
from mmdiff.core.samplers import Auto
from mmdiff.data.labels import grown, is_scalar
from mmdiff.store import load_model, save_model
from mmdiff.testing import Trial
from mmdiff.training.base import Base, inherit


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
    model = build_model(build_adapter(config.adapter, codec, reader, fields=fields), config.diffusion).eval()
    inherit(model, base, config)
    rows = [trial.dataset.read(i)[1] for i in range(2)] + [{}]
    shape = codec.latent_shape(**trial.stored["size"])
    now, before = (part.latents(rows, [0, 1, 2], shape, sampler=Auto(steps=2)) for part in (model, base.model))
    assert torch.equal(now, before) and now.isfinite().all()
    wish = {name: "one more" for name, field in told.items() if not is_scalar(field)}
    new = model.latents([wish], [2], shape, sampler=Auto(steps=2))
    assert not torch.equal(new[0], before[2])
