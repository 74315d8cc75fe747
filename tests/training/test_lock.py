"""A run directory belongs to one process at a time."""

import signal
import time

from tests.conftest import TINY, command, mmdiff


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
