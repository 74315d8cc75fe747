"""What can go wrong while a run goes on, and what is left of it."""

import csv
import signal
import sys
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from mmdiff.training.callbacks import Checkpoints
from mmdiff.training.checkpoints import latest
from tests.conftest import TINY
from tests.training.faults import disk_full_at, not_finite_at, worker_dies_at
from tests.training.launch import Job

SETTINGS = [*TINY, "trainer.max_steps=10", "validation.every=0", "loader.val=0"]


def steps(run):
    with (run / "metrics.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(("fault", "overrides", "text"), [
    (disk_full_at(2), [], "No space left on device"),
    (not_finite_at(59), [], "the loss is not finite at step 7, for note-"),
    (worker_dies_at(59), ["loader.workers=1"], "a data worker was killed"),
])
def test_a_fault_is_told_in_a_line_keeps_the_last_good_checkpoint_and_the_run_goes_on(tmp_path, fault, overrides, text):
    run = tmp_path / "run"
    output = Job("train", f"run={run}", *SETTINGS, *overrides, fault=fault, output=tmp_path).wait(code=1)
    assert text in output and "Traceback" not in output
    path, step = latest(run / "checkpoints")
    assert step == 4 and [p for p in path.parent.iterdir() if not p.name.startswith(".")] == [path]
    Job("train", f"run={run}", output=tmp_path).wait()
    assert steps(run) == list(range(1, 11))


def test_a_process_of_several_that_meets_a_fault_ends_the_run(tmp_path):
    run = tmp_path / "run"
    job = Job("train", f"run={run}", *SETTINGS, "trainer=fsdp_cpu", world=2, fault=not_finite_at(59), output=tmp_path)
    assert "the loss is not finite at step 7" in job.wait(code=1)
    assert latest(run / "checkpoints")[1] == 4


def test_a_run_of_an_earlier_version_is_continued_with_what_it_did_not_know_at_its_default(tmp_path):
    run = tmp_path / "run"
    Job("train", f"run={run}", *SETTINGS, output=tmp_path).wait()
    config = OmegaConf.load(run / "config.yaml")
    del config["recompute"], config["compile"], config["preview"]
    OmegaConf.save(config, run / "config.yaml")
    Job("train", f"run={run}", "trainer.max_steps=12", output=tmp_path).wait()
    assert steps(run) == list(range(1, 13))


def test_a_checkpoint_that_this_version_cannot_use_is_told_without_a_traceback(tmp_path):
    run = tmp_path / "run"
    Job("train", f"run={run}", *SETTINGS, output=tmp_path).wait()
    path = latest(run / "checkpoints")[0]
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["model.denoiser.network.of_old"] = torch.zeros(1)
    torch.save(checkpoint, path)
    output = Job("train", f"run={run}", "trainer.max_steps=12", output=tmp_path).wait(code=2)
    assert "of_old" in output and "another version" in output and "Traceback" not in output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_any_process_saves_and_slurms_warning_puts_the_job_back_into_the_queue(tmp_path, number):
    run, tools = tmp_path / "run", tmp_path / "tools"
    tools.mkdir()
    script = f"#!{sys.executable}\nimport sys\nopen({str(tools / 'asked')!r}, 'a').write(' '.join(sys.argv[1:]))\n"
    (tools / "scontrol").write_text(script)
    (tools / "scontrol").chmod(0o755)
    job = Job(
        "train", f"run={run}", *SETTINGS, "trainer=ddp_cpu", "trainer.max_steps=100000", "checkpoint.every=50000",
        world=2, environment={"PATH": f"{tools}:/usr/bin:/bin", "SLURM_JOB_ID": "17"},
        output=tmp_path,
    )
    job.until(lambda: (run / "metrics.csv").exists() and len(steps(run)) > 2)
    job.signal(number, rank=1)
    assert "saved at step" in job.wait(code=130)
    assert latest(run / "checkpoints")[1] == steps(run)[-1]
    assert (tools / "asked").exists() == (number == signal.SIGUSR1)
    if number == signal.SIGUSR1:
        assert (tools / "asked").read_text() == "requeue 17"


def test_a_signal_that_comes_while_processes_confer_is_heard_at_the_next_step(tmp_path):
    saving = Checkpoints(0, tmp_path, {})

    def reduce(tensor, reduce_op):
        told = tensor.clone()
        if not saving._received:
            saving._stop(signal.SIGTERM, None)
        return told

    strategy = SimpleNamespace(root_device="cpu", reduce=reduce)
    trainer = SimpleNamespace(world_size=2, strategy=strategy, should_stop=False, max_steps=9)
    assert not saving.due(trainer, 1) and not trainer.should_stop
    assert saving.due(trainer, 2) and trainer.should_stop
