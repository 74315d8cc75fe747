"""A run of several processes that was killed is, to the last bit, the run that was not."""

import csv
import time

import numpy as np
import pytest
import soundfile
import torch

from mmdiff.cache.encode import encode
from mmdiff.config.overrides import composed
from mmdiff.training.checkpoints import latest
from tests.conftest import TINY
from tests.training.faults import killed_after, killed_while_saving
from tests.training.launch import Job
from tests.training.states import state

STEPS = 8
NETWORK = [word for word in TINY if word.startswith("adapter.")]
SETTINGS = [*TINY, "validation.every=4", "checkpoint.every=2", f"trainer.max_steps={STEPS}"]
KINDS = {"one": (1, "cpu"), "ddp": (2, "ddp_cpu"), "fsdp": (2, "fsdp_cpu")}


def rows(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def losses(run):
    return [float(row["loss"]) for row in rows(run)]


def reached(run):
    """The step of the last checkpoint; 0 where there is none."""
    return (latest(run / "checkpoints") or (None, 0))[1]


def assert_same(a, b):
    """Weights, averages, optimizer, schedule, model file and the whole log."""
    assert latest(a / "checkpoints")[1] == latest(b / "checkpoints")[1] == STEPS
    one, two = (torch.utils._pytree.tree_flatten(state(run)) for run in (a, b))
    assert one[1] == two[1] and len(one[0]) > 50
    for x, y in zip(one[0], two[0], strict=True):
        assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
    assert rows(a) == rows(b)
    assert [row["step"] for row in rows(a)] == [str(i) for i in range(1, STEPS + 1)]
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()


def folder(root):
    """Overrides for a folder of 48 sounds."""
    root.mkdir()
    for i in range(48):
        soundfile.write(root / f"{i}.wav", np.random.default_rng(i).uniform(-0.5, 0.5, 4000), 16000)
    return [f"data.root={root}"]


def latents(root):
    """Overrides for the latents of such a folder."""
    encode(composed("encode", [*NETWORK, *folder(root)]), str(root / "latents"), progress=False)
    return ["data=latents", f"data.root={root / 'latents'}"]


CELLS = [(k, w, d) for k in KINDS for w in (0, 2) for d in (folder, latents)]
QUICK = {("fsdp", 2, latents)}


@pytest.mark.parametrize(("kind", "workers", "data"), [
    cell if cell in QUICK else pytest.param(*cell, marks=pytest.mark.slow) for cell in CELLS
])
def test_killed_while_saving_and_twice_in_a_row_it_continues_bit_for_bit(tmp_path, kind, workers, data):
    world, trainer = KINDS[kind]
    settings = [word for word in SETTINGS if not word.startswith("data.")]
    settings += [*data(tmp_path / "data"), f"trainer={trainer}", f"loader.workers={workers}"]

    def train(run, fault=None, code=0):
        Job("train", f"run={run}", *settings, world=world, fault=fault, output=tmp_path).wait(code)

    straight, killed = tmp_path / "straight", tmp_path / "killed"
    train(straight)
    train(killed, killed_while_saving(4), -9)
    assert latest(killed / "checkpoints")[1] == 2
    train(killed, killed_after(3), -9)
    assert latest(killed / "checkpoints")[1] == 2
    train(killed)
    assert_same(straight, killed)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The losses of one process."""
    folder = tmp_path_factory.mktemp("alone")
    Job("train", f"run={folder / 'run'}", *SETTINGS, output=folder).wait()
    return losses(folder / "run")


@pytest.mark.parametrize("trainer", ["ddp_cpu", pytest.param("fsdp_cpu", marks=pytest.mark.slow)])
def test_another_number_of_processes_continues_with_the_same_data(tmp_path, alone, trainer):
    moved, settings = tmp_path / "moved", [*SETTINGS, f"trainer={trainer}"]
    Job("train", f"run={moved}", *settings, world=2, fault=killed_after(3), output=tmp_path).wait(-9)
    Job("train", f"run={moved}", "trainer.devices=4", world=4, fault=killed_after(5), output=tmp_path).wait(-9)
    Job("train", f"run={moved}", "trainer.devices=1", output=tmp_path).wait()
    assert losses(moved) == pytest.approx(alone, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_instant_while_it_saves_after_every_step_it_continues(tmp_path, kind):
    world, trainer = KINDS[kind]
    run, step = tmp_path / "run", 0
    settings = [*SETTINGS, f"trainer={trainer}", "validation.every=0", "checkpoint.every=1", "optim.decay=constant"]
    for pause in torch.rand(3, generator=torch.Generator().manual_seed(0)).tolist():
        job = Job("train", f"run={run}", *settings, "trainer.max_steps=100000", world=world, output=tmp_path)
        job.until(lambda before=step: reached(run) > before)
        time.sleep(0.1 * pause)
        job.kill()
        step = reached(run)
    for folder in (run, tmp_path / "straight"):
        words = [*settings, f"trainer.max_steps={step + 2}"]
        Job("train", f"run={folder}", *words, world=world, output=tmp_path).wait()
    assert [int(row["step"]) for row in rows(run)] == list(range(1, step + 3))
    assert rows(run) == rows(tmp_path / "straight")
