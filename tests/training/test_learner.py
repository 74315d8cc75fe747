"""A class that training has never seen is trained, resumed, saved, and refused by name where it cannot serve."""

import copy
import json

import pytest
import torch
from omegaconf import OmegaConf, open_dict
from torch import nn

from mmdiff.config import plugins
from mmdiff.config.adapter import learner_part, parts
from mmdiff.config.build import ConfigError
from mmdiff.config.header import ModelFileError, read_header
from mmdiff.config.overrides import completed, composed
from mmdiff.generation.pipeline import load
from mmdiff.learner import Learner
from mmdiff.store import load_learner
from mmdiff.training.checkpoints import latest
from mmdiff.training.train import train
from tests.conftest import TINY


class Loudness(Learner):
    """Learns one number: the mean energy of the training set."""

    holds = "loudness"
    use = "it is in {run}"
    validated = ("loss",)

    def __init__(self, codec, reader, *, start: float = 0.0):
        super().__init__()
        self.codec, self.reader = codec.requires_grad_(False), reader
        self.own = nn.ParameterList([torch.tensor([start])])

    @property
    def trainable(self):
        return nn.ModuleDict({"own": self.own})

    @property
    def network(self):
        return self.trainable

    def replaced(self, trainable):
        other = copy.copy(self)
        other._modules = {**self._modules, "own": trainable["own"]}
        return other

    def loss(self, batch, seed, *, batch_size=None):
        return (batch.samples.x.square().flatten(1).mean(1) - self.own[0]).square()

    def validation_loss(self, batch):
        return self.loss(batch, 0).detach()[:, None]

    def preview(self, samples, labels, size, *, encoded=False):
        return [("real", samples[0])]


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """The class is of a package that is installed as a plug-in."""
    monkeypatch.setattr(plugins, "packages", lambda: ["tests"])


def config(run, *words, **own):
    found = composed("train", [f"run={run}", *TINY, "preview.n=1", "preview.every=4", "optim.decay=constant", *words])
    with open_dict(found):
        found.loudness = {"_target_": f"{__name__}.Loudness", **own}
        for name in ("conditioner", "network", "text", "controls"):
            found.adapter.pop(name, None)
    return OmegaConf.masked_copy(found, [key for key in found if key not in ("diffusion", "sampler", "guidance")])


def state(run):
    return torch.load(latest(run / "checkpoints")[0], weights_only=True)["state_dict"]


def test_a_learner_of_another_package_trains_resumes_bit_for_bit_and_says_what_it_is(tmp_path):
    straight, parted = tmp_path / "straight", tmp_path / "parted"
    train(config(straight, "trainer.max_steps=8"))
    train(config(parted, "trainer.max_steps=4"))
    more = [f"run={parted}", "trainer.max_steps=8"]
    train(composed("train", more), completed("train", more))
    one, two = state(straight), state(parted)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert (straight / "model.safetensors").read_bytes() == (parted / "model.safetensors").read_bytes()
    assert (straight / "previews" / "step-000000008" / "preview.png").exists()
    header = read_header(straight / "model.safetensors")
    assert header["holds"] == "loudness" and set(header["config"]) == {"adapter", "loudness", "size"}
    assert "fields" not in json.loads(json.dumps(header["config"]["adapter"]))
    again, _ = load_learner(straight)
    assert isinstance(again, Loudness) and again.own[0] != 0


def test_what_does_not_generate_is_refused_in_a_line_where_samples_are_asked_for(tmp_path):
    train(config(tmp_path / "run", "trainer.max_steps=1"))
    with pytest.raises(ModelFileError, match="holds a loudness, and here a diffusion model is asked for"):
        load(tmp_path / "run")


def test_one_thing_is_trained_and_what_has_no_effect_on_it_is_refused(tmp_path):
    both = composed("train", ["run=x"])
    with open_dict(both):
        both.loudness = {"_target_": f"{__name__}.Loudness"}
    with pytest.raises(ConfigError, match="but one of diffusion, loudness can be trained"):
        learner_part(both)
    with pytest.raises(ConfigError, match="nothing is trained"):
        learner_part(OmegaConf.create({"seed": 0}))
    assert parts(composed("train", ["run=x"])) == ("adapter", "diffusion", "sampler", "guidance")
    for word, key in (("subject=anna", "subject"), ("quality.every=2", "quality.every")):
        with pytest.raises(ConfigError, match=f"{key} has no effect on what loudness trains"):
            train(config(tmp_path / "run", word))
