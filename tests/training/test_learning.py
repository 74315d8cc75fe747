"""Parts of a model that learn: the others cost nothing, and keep their bits."""

import shutil
from pathlib import Path

import pytest
import torch

from mmdiff.cli.plan import lines
from mmdiff.config.build import ConfigError
from mmdiff.config.overrides import composed, composition
from mmdiff.data.loaders import train_loader
from mmdiff.store import load_model
from mmdiff.training.base import base_of
from mmdiff.training.checkpoints import latest
from mmdiff.training.learning import fits, selected
from mmdiff.training.plan import plan
from mmdiff.training.run import assemble, opened
from mmdiff.training.train import train
from tests.conftest import TINY
from tests.training.launch import Job

WORDS = [*(word for word in TINY if not word.startswith(("adapter.", "data."))), "validation.every=0",
         "checkpoint.every=2", "data=notes", "data.n=20", "optim.decay=constant"]
ONLY = "train.only=[network.up, conditioner]"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "base"
    train(composed("train", [*TINY, "validation.every=0", "trainer.max_steps=2", f"run={run}"]))
    return run


def go(*words):
    train(*composition("train", [*WORDS, *words]))


@pytest.fixture(scope="module")
def tuned(base, tmp_path_factory):
    """A run in which a part learned."""
    run = tmp_path_factory.mktemp("tuned") / "run"
    go(f"init={base}", ONLY, "trainer.max_steps=4", "optim.lr=1e-2", f"run={run}")
    return run


NAMES = [
    "network.down.0.weight", "network.blocks.1.a.weight", "network.blocks.12.a.bias", "conditioner.of_a%2Eb.weight",
]


@pytest.mark.parametrize(("pattern", "found"), [
    ("network", [0, 1, 2]), ("blocks", [1, 2]), ("blocks.0-3", [1]), ("network.blocks.*.a", [1, 2]),
    ("weight", [0, 1, 3]), ("blocks.12", [2]), ("network.down.0.weight", [0]), ("b*s", [1, 2]), ("0", [0]),
])
def test_a_pattern_is_words_of_a_name_one_after_the_other(pattern, found):
    assert [fits(pattern, name) for name in NAMES] == [i in found for i in range(len(NAMES))]
    assert selected(NAMES, [pattern], key="k") == [NAMES[i] for i in found]


@pytest.mark.parametrize("pattern", ["block", "network.weight", "blocks.13-20", "1.a.weight.x", ""])
def test_a_pattern_that_fits_nothing_is_an_error_with_near_names(pattern):
    with pytest.raises(ConfigError, match=f"k: no part of the model is named '{pattern}'; (did you mean|known)"):
        selected(NAMES, ["network", pattern], key="k")


def test_what_does_not_learn_keeps_its_bits_and_the_rest_moves(base, tuned):
    old, new = (load_model(run)[0].trainable.state_dict() for run in (base, tuned))
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    learned = set(selected(old, ["network.up", "conditioner"], key="k"))
    assert moved <= learned and len(moved) > len(learned) - 3         # a bias before a norm has no gradient


def test_checkpoint_moments_and_averages_hold_what_learns_alone(base, tuned):
    checkpoint = torch.load(latest(tuned / "checkpoints")[0], weights_only=True)
    learned = selected(load_model(base)[0].trainable.state_dict(), ["network.up", "conditioner"], key="k")
    names = [f"model.{name.replace('network', 'denoiser.network', 1)}" for name in learned]
    assert set(checkpoint["state_dict"]) == {*names, *(f"ema.main.average.{name}" for name in learned)}
    assert len(checkpoint["optimizer_states"][0]["state"]) == len(learned)


def test_no_gradient_is_made_and_no_average_copied_of_what_does_not_learn(base, tmp_path):
    config, record, _ = opened(tmp_path / "run", composed("train", [*WORDS, f"init={base}", ONLY]), None)
    module = assemble(config, tmp_path, record=record, base=base_of(config, record, resumed=False)).module
    order = module.loading.order(module.dataset, seed=0, steps=1)
    module.model.loss(next(iter(train_loader(module.dataset, order))), 0).mean().backward()
    average, weights = (dict(part.named_parameters()) for part in (module.ema["main"].average, module.model.trainable))
    for name, weight in weights.items():
        assert (weight.grad is None) == (average[name] is weight) == (not weight.requires_grad)


def test_a_resumed_run_is_the_straight_one_and_takes_the_rest_from_its_base(base, tmp_path):
    moved, more = shutil.copytree(base, tmp_path / "base"), ["optim.lr=1e-2", ONLY]
    go(f"init={moved}", *more, "trainer.max_steps=4", f"run={tmp_path / 'straight'}")
    go(f"init={moved}", *more, "trainer.max_steps=2", f"run={tmp_path / 'parts'}")
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="no model at"):
        train(composed("train", [f"run={tmp_path / 'parts'}"]), ["trainer.max_steps=4"])
    again = [f"init={tmp_path / 'elsewhere'}", "trainer.max_steps=4"]
    train(composed("train", [f"run={tmp_path / 'parts'}", *again]), again)
    one, other = (load_model(tmp_path / name)[0].state_dict() for name in ("straight", "parts"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    with pytest.raises(ConfigError, match=r"keeps train\.only"):
        train(composed("train", [f"run={tmp_path / 'parts'}"]), ["train.only=[network]"])


def test_without_a_base_nothing_is_left_as_it_is():
    config = composed("train", [*TINY, ONLY, "run=never"])
    with pytest.raises(ConfigError, match="name that too"):
        assemble(opened(Path("never"), config, None)[0], Path("never"))


def test_a_plan_says_how_much_learns_and_leaves_nothing(base, tmp_path):
    words = [*WORDS, f"init={base}", ONLY, "trainer.max_steps=6", f"run={tmp_path / 'runs' / 'x'}"]
    found = plan(*composition("train", words))
    whole = load_model(base)[0].trainable.state_dict()
    learned = selected(whole, ["network.up", "conditioner"], key="k")
    assert found.learning == sum(whole[name].numel() for name in learned) and list(tmp_path.iterdir()) == []
    assert f"of which {found.learning / 1e6:.2f} M learn" in "\n".join(lines(found))


@pytest.mark.parametrize("kind", ["ddp_cpu", pytest.param("fsdp_cpu", marks=pytest.mark.slow)])
def test_two_ranks_resumed_are_two_ranks_straight_and_keep_the_bits_of_the_rest(base, tmp_path, kind):
    def go(run, steps):
        words = [*WORDS, f"init={base}", ONLY, "optim.lr=1e-2", f"trainer={kind}", f"trainer.max_steps={steps}"]
        Job("train", f"run={tmp_path / run}", *words, world=2, output=tmp_path).wait()

    go("straight", 4)
    go("parts", 2)
    go("parts", 4)
    runs = (tmp_path / "straight", tmp_path / "parts", base)
    (one, facts), (other, _), (old, own) = map(load_model, runs)
    one, other, old = (model.state_dict() for model in (one, other, old))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    moved = {name for name, value in old.items() if not torch.equal(value, one[name])}
    learned = set(selected(old, ["network.up", "conditioner"], key="k"))
    assert moved <= learned and len(moved) > len(learned) - 3
    assert [link["sha256"] for link in facts["bases"]] == [own["sha256"]]
