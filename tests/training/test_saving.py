"""A process may be killed at any instant of saving: what has its final name is whole."""

import os
import random
import time
from pathlib import Path
from types import SimpleNamespace

import torch

import mmdiff
from mmdiff.checkpoint import load_model
from mmdiff.training.checkpoints import AtomicCheckpointIO, latest
from mmdiff.training.saving import Checkpoints
from tests.training.launch import CONTEXT

KILLS = int(os.environ.get("MMDIFF_KILLS", "15"))


def save_for_ever(run: Path, source: Path, step: int) -> None:
    """Save one step after the other; what is saved tells its step."""
    torch.set_num_threads(1)
    pipeline = mmdiff.load(source, device="cpu")
    module = SimpleNamespace(averaged=pipeline.model, finite=lambda: True)
    saving = Checkpoints(1, run, pipeline.header["config"])
    while True:
        step += 1
        state = {"global_step": step, "x": torch.full((200_000,), step)}
        trainer = SimpleNamespace(
            is_global_zero=True, world_size=1,
            save_checkpoint=lambda path, state=state: AtomicCheckpointIO().save_checkpoint(state, path),
        )
        saving.act(trainer, module, step)


def test_killed_at_random_instants_the_last_checkpoint_and_the_model_file_are_whole(run, tmp_path):
    chance, step, during = random.Random(0), 0, 0
    for _ in range(KILLS):
        process = CONTEXT.Process(target=save_for_ever, args=(tmp_path, run, step))
        process.start()
        while (latest(tmp_path / "checkpoints") or (None, 0))[1] <= step:
            assert process.is_alive()
            time.sleep(0.001)
        time.sleep(0.05 * chance.random())
        process.kill()
        process.join()
        path, reached = latest(tmp_path / "checkpoints")
        assert reached > step
        assert torch.equal(torch.load(path, weights_only=True)["x"], torch.full((200_000,), reached))
        assert load_model(tmp_path)[1]["step"] in {reached, reached + 1}
        during += bool(list(tmp_path.rglob("*.partial")))
        step = reached
    print(f"{KILLS} killed, {during} of them with a file half written")
    assert during
