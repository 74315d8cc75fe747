"""A run directory belongs to one process at a time."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from mmdiff.training.lock import locked
from tests.conftest import TINY, command, mmdiff

OUTLIVED = """
import os, pathlib, signal, sys, time
from mmdiff.training.lock import locked

with locked(pathlib.Path(sys.argv[1])):
    child = os.fork()
    if child == 0:
        time.sleep(60)
    print(child, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_second_process_is_refused_and_a_killed_one_leaves_the_run_free(tmp_path):
    run = tmp_path / "run"
    first = command("train", f"run={run}", *TINY, "trainer.max_steps=100000")
    try:
        while not list((run / "checkpoints").glob("*.ckpt")):
            assert first.poll() is None
            time.sleep(0.2)
        output = mmdiff("train", f"run={run}", code=2)
        assert f"being trained by process {first.pid} on" in output
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    step = max(int(p.stem.split("-")[1]) for p in (run / "checkpoints").glob("*.ckpt"))
    mmdiff("train", f"run={run}", f"trainer.max_steps={step + 4}")


def test_a_child_that_outlives_a_killed_process_does_not_hold_the_run(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", OUTLIVED, tmp_path], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    try:
        assert parent.wait() == -signal.SIGKILL
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
