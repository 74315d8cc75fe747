"""What can go wrong while a run goes on, and what is left of it."""

import csv
import shutil
import signal
import sys
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from mmdiff.config.overrides import composition
from mmdiff.store import load_model
from mmdiff.training.checkpoints import latest
from mmdiff.training.saving import Checkpoints
from mmdiff.training.train import train
from tests.conftest import TINY
from tests.training.faults import (
    disk_full_at,
    gradient_not_finite_at,
    nobody_reads,
    not_finite_at,
    preview_fails,
    reading_fails_at,
    validation_fails_at,
    waits_after,
    worker_dies_at,
)
from tests.training.launch import Job
from tests.training.states import state

SETTINGS = [*TINY, "trainer.max_steps=10", "validation.every=0", "loader.val=0"]


def go_on(run, *words):
    """Continue a run in this process, which has not met its fault."""
    train(*composition("train", [f"run={run}", *words]))


def steps(run):
    with (run / "metrics.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(("fault", "overrides", "text", "saved"), [
    (disk_full_at(2), [], "No space left on device", 4),
    (not_finite_at(59), [], "the loss is not finite at step 8, for note-", 4),
    (gradient_not_finite_at(59), [], "the gradient is not finite at step 8 (norm nan", 4),
    (reading_fails_at(59), [], "no file can be read", 7),
    (reading_fails_at(61), ["trainer.accumulate_grad_batches=2"], "no file can be read", 7),
    (validation_fails_at(2), ["loader.val=0.1", "validation.every=3"], "the held-out file is gone", 6),
])
def test_a_fault_is_told_in_a_line_saves_the_last_good_step_and_the_run_goes_on_as_if_nothing_had_been(
    tmp_path, straight, fault, overrides, text, saved
):
    run = tmp_path / "run"
    output = Job("train", f"run={run}", *SETTINGS, *overrides, fault=fault, output=tmp_path).wait(code=1)
    assert text in output and "Traceback" not in output
    assert f"{run} is saved up to step {saved}; go on with: mmdiff train run={run}" in output
    assert latest(run / "checkpoints")[1] == saved and not list(run.rglob("*.partial"))
    assert load_model(run)[1]["step"] == (8 if "No space" in text else saved)
    go_on(run)
    assert steps(run) == list(range(1, 11))
    if not overrides:
        assert_equal(state(run)["state_dict"], straight["state_dict"])


def test_a_data_worker_that_dies_ends_the_run_at_a_step_that_was_whole(tmp_path, straight):
    run = tmp_path / "run"
    words = [*SETTINGS, "loader.workers=1"]
    output = Job("train", f"run={run}", *words, fault=worker_dies_at(59), output=tmp_path).wait(code=1)
    step = latest(run / "checkpoints")[1]                             # the worker is ahead of the training
    assert "a data worker was killed" in output and f"saved up to step {step}" in output and 4 <= step <= 7
    Job("train", f"run={run}", output=tmp_path).wait()
    assert steps(run) == list(range(1, 11))
    assert_equal(state(run)["state_dict"], straight["state_dict"])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run without a fault."""
    folder = tmp_path_factory.mktemp("straight")
    Job("train", f"run={folder / 'run'}", *SETTINGS, output=folder).wait()
    return folder / "run"


@pytest.fixture(scope="module")
def straight(done):
    """What a run without a fault ends with."""
    return state(done)


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert not [name for name in one if not torch.equal(one[name], other[name])]


def test_a_run_whose_time_is_up_is_saved_and_says_how_to_go_on(tmp_path, straight, capsys):
    run, words = tmp_path / "run", [*SETTINGS, "checkpoint.every=0", "trainer.max_time=00:00:00:01"]
    output = Job("train", f"run={run}", *words, fault=waits_after(5), output=tmp_path).wait()
    assert latest(run / "checkpoints")[1] == load_model(run)[1]["step"] == 5
    assert f"saved at step 5 of 10: trainer.max_time is up. Go on with: mmdiff train run={run}" in output
    go_on(run, "trainer.max_time=00:01:00:00")
    assert "done" in capsys.readouterr().out
    assert_equal(state(run)["state_dict"], straight["state_dict"])


def test_a_preview_that_fails_for_whatever_reason_is_told_and_the_run_goes_on(tmp_path):
    words = [*SETTINGS, "preview.n=2", "preview.every=5", "trainer=ddp_cpu"]
    job = Job("train", f"run={tmp_path / 'run'}", *words, fault=preview_fails, world=2, output=tmp_path)
    output = job.wait()
    assert "no preview of step 5: [Errno 28] No space left" in output and "no preview of step 10" in output
    assert steps(tmp_path / "run") == list(range(1, 11))


def test_a_run_goes_on_when_nobody_reads_its_output_any_more(tmp_path):
    run = tmp_path / "run"
    Job("train", f"run={run}", *SETTINGS, fault=nobody_reads, output=tmp_path).wait()
    assert steps(run) == list(range(1, 11)) and load_model(run)[1]["step"] == 10


@pytest.mark.parametrize(("fault", "trainer", "text"), [
    (gradient_not_finite_at(59), "fsdp_cpu", "the gradient is not finite at step 8"),
    (not_finite_at(59), "ddp_cpu", "the loss is not finite at step 8"),
    pytest.param(not_finite_at(59), "fsdp_cpu", "the loss is not finite at step 8", marks=pytest.mark.slow),
])
def test_a_process_of_several_that_meets_a_fault_ends_the_run(tmp_path, fault, trainer, text):
    run = tmp_path / "run"
    job = Job("train", f"run={run}", *SETTINGS, f"trainer={trainer}", world=2, fault=fault, output=tmp_path)
    assert text in job.wait(code=1)
    assert latest(run / "checkpoints")[1] == 4 == load_model(run)[1]["step"]


def test_a_run_of_an_earlier_version_is_continued_with_what_it_did_not_know_at_its_default(tmp_path, done):
    run = shutil.copytree(done, tmp_path / "run")
    config = OmegaConf.load(run / "config.yaml")
    del config["recompute"], config["compile"], config["preview"]
    OmegaConf.save(config, run / "config.yaml")
    go_on(run, "trainer.max_steps=12")
    assert steps(run) == list(range(1, 13))


def test_a_checkpoint_that_this_version_cannot_use_is_told_without_a_traceback(tmp_path, done):
    run = shutil.copytree(done, tmp_path / "run")
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


def test_a_signal_that_comes_while_processes_confer_is_heard_by_all_two_steps_later(tmp_path):
    saving = Checkpoints(0, tmp_path, {})

    def reduce(tensor, reduce_op):
        told = tensor.clone()
        if not saving._received:
            saving._stop(signal.SIGTERM, None)
        return told

    strategy = SimpleNamespace(root_device="cpu", reduce=reduce)
    trainer = SimpleNamespace(world_size=2, strategy=strategy, should_stop=False, max_steps=9)
    for step in (1, 2):                                               # what they said at one is read at the next
        assert not saving.due(trainer, step) and not trainer.should_stop
    assert saving.due(trainer, 3) and trainer.should_stop
