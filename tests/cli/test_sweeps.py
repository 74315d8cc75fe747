"""Sweeps: every combination in a folder of its own; Ctrl-C stops all; ranks of every run are started anew."""

import os
import shlex
import sys

import pytest

from mmdiff.cli import sample
from mmdiff.cli.sweep import Sweep
from mmdiff.config import overrides
from mmdiff.config.build import ConfigError
from mmdiff.config.words import Word, text
from mmdiff.training.train import Interrupted
from tests.conftest import TINY, mmdiff


def swept(monkeypatch, *arguments, make=lambda run: None):
    """The runs that are made, with their seeds, and the exit code."""
    monkeypatch.setattr(sys, "argv", ["mmdiff"])
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    sweep, made, code = Sweep("train", list(arguments), swept=True), [], 0
    try:
        for run in sweep.runs:
            with sweep.attempt(run):
                made.append((run.config.run, run.config.seed))
                os.environ["LOCAL_RANK"] = "0"                        # as Lightning leaves it
                assert "LOCAL_RANK=0" not in sys.argv
                again = [word for word in sys.argv[2:] if word.startswith("run=")]
                assert [text(Word.of(word).value) for word in again] == [run.config.run] and "-m" not in sys.argv
                assert overrides.composed("train", sys.argv[2:]).seed == run.config.seed, "other ranks read the same"
                make(run.config.run)
    except KeyboardInterrupt:
        code = 130
    assert "LOCAL_RANK" not in os.environ
    return made, code or sweep.code


def test_a_sweep_makes_a_run_of_every_value_in_a_folder_of_run(monkeypatch):
    made, code = swept(monkeypatch, "run=josé [x]/s=1", "seed=1,2")
    assert made == [("josé [x]/s=1/seed-1", 1), ("josé [x]/s=1/seed-2", 2)] and code == 0


def test_an_interrupted_run_stops_the_sweep_and_the_command_to_go_on_is_told(monkeypatch, capsys):
    for stop in (KeyboardInterrupt, Interrupted):
        def interrupt(run, stop=stop):
            raise stop

        made, code = swept(monkeypatch, "run=a b", "seed=1,2", make=interrupt)
        assert len(made) == 1 and code == 130
        told = capsys.readouterr().err.partition("go on with: ")[2]
        assert shlex.split(told) == ["mmdiff", "train", "-m", "run=a b", "seed=1,2"]


def test_a_run_that_fails_is_told_and_the_others_are_made(monkeypatch, capsys):
    def fail(run):
        if run.endswith("seed-1"):
            raise FloatingPointError("the loss is NaN")

    made, code = swept(monkeypatch, "run=s", "seed=1,2", make=fail)
    assert [run for run, _ in made] == ["s/seed-1", "s/seed-2"] and code == 1
    assert "s/seed-1: the loss is NaN" in capsys.readouterr().err


def test_a_mistake_in_a_later_value_is_told_before_the_first_run(monkeypatch):
    with pytest.raises(ConfigError, match="seed is a whole number, at least 0"):
        swept(monkeypatch, "run=s", "seed=1,x")


@pytest.mark.parametrize("trainer", ["ddp_cpu", pytest.param("fsdp_cpu", marks=pytest.mark.slow)])
def test_a_sweep_on_two_devices_makes_runs_that_every_command_takes(trainer, tmp_path, monkeypatch):
    base = tmp_path / "s=1 é[x]"
    tiny = [word for word in TINY if word != "trainer=cpu"]
    mmdiff("train", "-m", f"run={base}", "seed=1,2", *tiny, f"trainer={trainer}", "trainer.max_steps=2")
    assert sorted(path.name for path in base.iterdir()) == ["seed-1", "seed-2"]
    monkeypatch.chdir(tmp_path)
    assert sample.main(["s=1 é[x]/seed-2", "sampler.steps=1", "out=made, all"]) == 0
    assert len(list((tmp_path / "made, all").glob("*.wav"))) == 1
