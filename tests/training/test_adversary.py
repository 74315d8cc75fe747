"""A codec and what learns against it: two optimizers in one step, resumed to the bit, saved apart."""

import csv

import pytest
import torch

from mmdiff.adapters.adversary import PatchCritic
from mmdiff.config.build import ConfigError
from mmdiff.config.overrides import completed, composed
from mmdiff.core.types import Masked
from mmdiff.store import load_learner
from mmdiff.training.checkpoints import latest
from mmdiff.training.train import train
from mmdiff.weights import read_model_file
from tests.training.faults import killed_after
from tests.training.launch import Job
from tests.training.test_resume import assert_same
from tests.video.test_film_codec import CODEC

CRITIC = [*CODEC, "adversary=patch", "adversary.width=4", "adversary.depth=1", "adversary.start=16",
          "optim.decay=constant"]

TWO = [*CRITIC, "trainer=ddp_cpu", "trainer.accumulate_grad_batches=2", "trainer.max_steps=14"]


def run(path, *words):
    words = [f"run={path}", *words]
    return train(composed("train", words), completed("train", words) if path.exists() else None)


def rows(path):
    with (path / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "straight", *CRITIC, "trainer.max_steps=14")


def test_a_run_with_an_adversary_goes_on_bit_for_bit(straight, tmp_path):
    run(tmp_path / "parted", *CRITIC, "trainer.max_steps=6")          # it counts from step 5 on
    run(tmp_path / "parted", "trainer.max_steps=14")
    assert_same(straight, tmp_path / "parted", 14)


@pytest.fixture(scope="module")
def two(straight):
    path = straight.parent / "two"
    Job("train", f"run={path}", *TWO, world=2, output=path.parent).wait()
    return path


def test_two_processes_train_the_codec_and_the_critic_that_one_trains(straight, two):
    for column in ("loss", "critic_loss", "critic_accuracy", "generator_loss"):
        one, other = ([float(row[column]) for row in rows(path)] for path in (straight, two))
        assert other == pytest.approx(one, rel=1e-4, abs=1e-5)
    one, other = (torch.load(latest(path / "checkpoints")[0], weights_only=True)["state_dict"]
                  for path in (straight, two))
    assert all(torch.allclose(other[name], value, atol=1e-4) for name, value in one.items())


def test_two_processes_that_were_killed_go_on_bit_for_bit_with_critic_and_accumulation(two, tmp_path):
    words = [word for word in TWO if not word.startswith("checkpoint.every")]
    killed = ["train", f"run={tmp_path / 'killed'}"]
    Job(*killed, *words, "checkpoint.every=4", world=2, fault=killed_after(6), output=tmp_path).wait(-9)
    assert latest(tmp_path / "killed" / "checkpoints")[1] == 4
    Job(*killed, world=2, output=tmp_path).wait()
    assert_same(two, tmp_path / "killed", 14)
    one, other = (read_model_file(path / "model.safetensors")[1] for path in (two, tmp_path / "killed"))
    assert all(torch.equal(other[name], value) for name, value in one.items())


def test_the_critic_is_in_the_checkpoint_with_its_moments_and_not_in_the_model_file(straight):
    saved = torch.load(latest(straight / "checkpoints")[0], weights_only=True)
    critic = [name for name in saved["state_dict"] if "adversary.layers" in name]
    assert critic and saved["global_step"] == 14
    count = len(list(load_learner(straight)[0].trainable.parameters()))
    assert len(saved["optimizer_states"][0]["state"]) == count + len(critic)
    assert not any("adversary" in name for name in read_model_file(straight / "model.safetensors")[1])


def test_the_balance_is_logged_and_it_counts_from_its_start_on(straight):
    told = rows(straight)
    silent = [float(row["generator_loss"]) == 0 for row in told]
    assert silent == [step <= 4 for step in range(1, 15)]             # 4 draws a step
    assert all(0 <= float(row["critic_accuracy"]) <= 1 and float(row["critic_loss"]) > 0 for row in told)


def test_neither_learns_from_the_loss_of_the_other():
    critic = PatchCritic(width=4, depth=1, start=10)
    critic.make(1, 1)
    made, real = torch.randn(2, 1, 32, requires_grad=True), Masked(torch.randn(2, 1, 32))
    critic.generator_loss(Masked(made), torch.tensor([9, 10])).sum().backward()
    assert made.grad[0].eq(0).all() and made.grad[1].ne(0).any()      # the first is before the start
    assert all(parameter.grad is None for parameter in critic.parameters())
    made.grad = None
    loss, right = critic.critic_loss(Masked(made), real)
    loss.sum().backward()
    assert made.grad is None and all(parameter.grad is not None for parameter in critic.parameters())
    assert right.shape == (2,)


def test_without_weight_in_the_loss_the_codec_is_the_one_that_has_no_adversary(tmp_path):
    plain = run(tmp_path / "plain", *CODEC, "trainer.max_steps=3", "optim.decay=constant")
    never = run(tmp_path / "never", *CRITIC, "adversary.start=100000", "trainer.max_steps=3")
    one, two = (read_model_file(path / "model.safetensors")[1] for path in (plain, never))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_an_adversary_that_is_not_finite_ends_the_run_and_is_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(PatchCritic, "forward", lambda self, x: self.layers(x[:, :, 0]) * torch.inf)
    with pytest.raises(FloatingPointError, match="the adversary is not finite at step 1: a lower adversary.lr"):
        run(tmp_path / "run", *CRITIC, "adversary.start=100", "trainer.max_steps=3")
    assert not list((tmp_path / "run" / "checkpoints").glob("*.ckpt"))


def test_an_adversary_where_nothing_is_decoded_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="adversary has no effect on what diffusion trains"):
        run(tmp_path / "run", "adversary=patch", "data=notes", "data.n=8")
    with pytest.raises(ConfigError, match="sets of points"):
        run(tmp_path / "run", "experiment=points/codec", "data=solids", "data.n=8", "adversary=patch")


def test_a_critic_that_halves_more_often_than_a_sample_can_be_says_so():
    critic = PatchCritic(width=4, depth=3)
    critic.make(1, 2)
    assert critic(torch.randn(1, 1, 8, 9)).numel()
    with pytest.raises(ValueError, match="adversary.depth=3 halves .* these have 7 positions: take 2 at most"):
        critic(torch.randn(1, 1, 7, 9))
