"""A run directory belongs to one process at a time."""

import errno
import os
import signal
import time

import pytest

from mmdiff.training.lock import locked
from tests.conftest import TINY, mmdiff
from tests.training.launch import Job
from tests.warm import SERVER


def outlived(run, told):
    """Hold ``run``, and die while a child, whose number is told, lives on."""
    with locked(run):
        child = os.fork()
        if child == 0:
            time.sleep(60)
        told.send(child)
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_second_process_is_refused_and_a_killed_one_leaves_the_run_free(tmp_path):
    run = tmp_path / "run"
    first = Job("train", f"run={run}", *TINY, "trainer.max_steps=100000", output=tmp_path)
    try:
        first.until(lambda: list((run / "checkpoints").glob("*.ckpt")))
        output = mmdiff("train", f"run={run}", code=2)
        assert f"being trained by process {first.processes[0].pid} on" in output
        assert first.processes[0].is_alive()
    finally:
        first.kill()
    step = max(int(p.stem.split("-")[1]) for p in (run / "checkpoints").glob("*.ckpt"))
    mmdiff("train", f"run={run}", f"trainer.max_steps={step + 4}")


def test_a_child_that_outlives_a_killed_process_does_not_hold_the_run(tmp_path):
    heard, told = SERVER.Pipe(duplex=False)
    parent = SERVER.Process(target=outlived, args=(tmp_path, told))
    parent.start()
    child = heard.recv()
    try:
        parent.join()
        assert parent.exitcode == -signal.SIGKILL
        os.kill(child, 0)
        with locked(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_file_system_without_locks_is_told_and_the_run_goes_on(tmp_path, monkeypatch):
    def lockf(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.lockf", lockf)
    begun, text = [], "cannot be locked .No locks available.: start no second process"
    with pytest.warns(UserWarning, match=text), locked(tmp_path):
        begun.append(True)
    assert begun
