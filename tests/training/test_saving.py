"""A process may be killed at any instant of saving: what has its final name is whole; and what a run leaves behind."""

import contextlib
import math
import os
import random
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

import mmdiff
from mmdiff.config.build import ConfigError
from mmdiff.config.overrides import composed
from mmdiff.config.record import Record
from mmdiff.store import load_model
from mmdiff.training.checkpoints import AtomicCheckpointIO, latest, start
from mmdiff.training.metrics import MetricsCsv
from mmdiff.training.saving import SIGNALS, Checkpoints
from mmdiff.training.train import train
from tests.conftest import TINY
from tests.warm import SERVER

KILLS = int(os.environ.get("MMDIFF_KILLS", "8"))


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
        process = SERVER.Process(target=save_for_ever, args=(tmp_path, run, step))
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


def rescue(saving, *, greatest=1.0, step=3):
    """What an error after a whole step leaves."""
    state = {"global_step": step}
    trainer = SimpleNamespace(
        global_step=step, world_size=1, is_global_zero=True, _checkpoint_connector=SimpleNamespace(
            dump_checkpoint=lambda weights_only: state),
        strategy=SimpleNamespace(save_checkpoint=AtomicCheckpointIO().save_checkpoint),
    )
    module = SimpleNamespace(
        averaged=saving.model, device_mesh=None, full_step=step, settle=lambda: None,
        greatest=lambda: torch.tensor(greatest),
    )
    saving._tried = 0
    saving.on_exception(trainer, module, OSError("a file cannot be read"))


@pytest.fixture
def saving(run, tmp_path):
    pipeline = mmdiff.load(run, device="cpu")
    made = Checkpoints(1, tmp_path / "run", pipeline.header["config"])
    made.model = pipeline.model
    return made


def test_an_error_saves_the_last_whole_step_but_nothing_that_is_not_finite(saving):
    rescue(saving, greatest=math.inf)
    rescue(saving, greatest=math.nan)
    assert not saving.run.exists()
    rescue(saving)
    assert latest(saving.run / "checkpoints")[1] == load_model(saving.run)[1]["step"] == 3


def test_a_model_file_is_alone_before_the_first_checkpoint_only(saving, monkeypatch):
    folder, record = saving.run / "checkpoints", Record(saving.run, OmegaConf.create({}), [], {}, [], [])

    def full(*args):
        raise OSError(28, "No space left on device")

    def in_vain(step):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "save", full)
            with pytest.warns(UserWarning, match=f"step {step} could not be saved either"):
                rescue(saving, step=step)

    in_vain(3)
    assert start(record) is None and load_model(saving.run)[1]["step"] == 3       # the first step: it begins again
    rescue(saving, step=4)
    in_vain(5)
    assert start(record)[1] == 4
    for path in folder.glob("step-*"):
        path.unlink()
    with pytest.raises(ConfigError, match="has no checkpoint to go on from, though it came to step 5"):
        start(record)


def test_a_run_leaves_signals_random_numbers_and_environment_as_they_were(tmp_path, monkeypatch):
    def state():
        generators = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        return [signal.getsignal(number) for number in SIGNALS], dict(os.environ), generators

    before = state()
    config = composed("train", [f"run={tmp_path / 'run'}", *TINY, "trainer.max_steps=2"])
    for error in (None, ValueError("gone"), KeyboardInterrupt(), FloatingPointError("not finite")):
        def log_metrics(*args, error=error, **named):
            if error is not None:
                raise error

        monkeypatch.setattr(MetricsCsv, "log_metrics", log_metrics)
        config.run = str(tmp_path / f"run-{type(error).__name__}")
        with contextlib.suppress(ValueError, KeyboardInterrupt, FloatingPointError):
            train(config)
        assert [a == b for a, b in zip(before, state(), strict=True)] == [True] * 3, error
