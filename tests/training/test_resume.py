"""A run that was killed is, to the last bit, the run that was not."""

import csv
import signal
import time

import pytest
import torch

from mmdiff.training.checkpoints import latest
from tests.conftest import TINY, command, mmdiff
from tests.training.faults import killed_after
from tests.training.launch import Job

STEPS = 10


def rows(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def train(run, *overrides, code=0):
    return mmdiff("train", f"run={run}", *overrides, code=code)


def interrupted(run, step, *overrides):
    """Start training as a person does, and press Ctrl-C once ``step`` is in the log; gives the output."""
    process = command("train", f"run={run}", *overrides)
    deadline = time.time() + 120
    while time.time() < deadline and process.poll() is None:
        if (run / "metrics.csv").exists() and any(row["step"] == str(step) for row in rows(run)):
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    return output, process.returncode


def assert_same(a, b, steps=STEPS):
    """Weights, averages, optimizer and schedule of two checkpoints, and the logged losses of two runs."""
    first, second = (torch.load(latest(run / "checkpoints")[0], weights_only=True) for run in (a, b))
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        one, two = (torch.utils._pytree.tree_leaves(c[part]) for c in (first, second))
        assert len(one) == len(two)
        for x, y in zip(one, two, strict=True):
            assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
    assert rows(a) == rows(b)
    assert [row["step"] for row in rows(a)] == [str(i) for i in range(1, steps + 1)]


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_killed_run_continues_bit_for_bit(tmp_path, workers):
    settings = [*TINY, f"trainer.max_steps={STEPS}", f"loader.workers={workers}", "loader.batch_size=7"]
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    train(straight, *settings)
    for step, saved, words in ((6, 4, settings), (9, 8, [])):
        Job("train", f"run={killed}", *words, fault=killed_after(step), output=tmp_path).wait(-9)
        assert latest(killed / "checkpoints")[1] == saved
    train(killed)
    assert_same(straight, killed)
    assert (straight / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    run = tmp_path / "run"
    output, code = interrupted(run, 5, *TINY, "trainer.max_steps=2000")
    assert code == 130, output
    assert f"mmdiff train run={run}" in output
    step = latest(run / "checkpoints")[1]
    assert f"saved at step {step}" in output and step >= 5
    train(run, f"trainer.max_steps={step + 3}")
    assert latest(run / "checkpoints")[1] == step + 3


def test_an_existing_run_keeps_its_choices(run):
    output = mmdiff("train", f"run={run}", "diffusion=ddpm", code=2)
    assert "keeps its diffusion" in output and "Traceback" not in output


def test_the_same_command_again_continues_the_run(tmp_path):
    again = [*TINY, "experiment=audio/demo", "trainer.max_steps=2"]
    train(tmp_path / "run", *again)
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert "continuing from step 2" in train(tmp_path / "run", *again)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    torch.save({"global_step": 4}, folder / "step-000000004.ckpt")
    (folder / "step-000000008.ckpt").write_bytes((folder / "step-000000004.ckpt").read_bytes()[:200])
    assert latest(folder) == (folder / "step-000000004.ckpt", 4)
