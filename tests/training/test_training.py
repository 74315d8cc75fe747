"""What a run leaves behind, and how it fails."""

import csv
import json
import sys
from subprocess import PIPE, STDOUT
from subprocess import run as execute

import pytest
import torch

from mmdiff.adapters.audio.codec import MelCodec
from mmdiff.config.overrides import composed
from mmdiff.nn.unet1d import UNet1d
from mmdiff.training.train import train
from tests.conftest import TINY, mmdiff
from tests.training.launch import told_by_torchrun


def rows(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_directory_holds_all_that_was_promised(run):
    found = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {"config.yaml", "data.json", "metrics.csv", "model.safetensors"} <= found
    assert {"checkpoints/step-000000004.ckpt", "checkpoints/step-000000008.ckpt"} <= found
    assert {f"previews/step-000000008/{name}" for name in ("00.wav", "01.wav", "preview.png")} <= found
    assert not [name for name in found if "partial" in name]
    table = rows(run)
    assert [row["step"] for row in table] == [str(i) for i in range(1, 9)]
    assert [bool(row["val/loss"]) for row in table] == [i % 4 == 0 for i in range(1, 9)]
    assert json.loads((run / "data.json").read_text())["skipped"] == []


def test_only_the_last_two_checkpoints_are_kept(tmp_path):
    mmdiff("train", f"run={tmp_path / 'run'}", *TINY, "checkpoint.every=2", "trainer.max_steps=9")
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == [
        "step-000000008.ckpt", "step-000000009.ckpt"
    ]


def test_steps_and_previews_are_in_the_precision_of_the_training_and_what_the_codec_does_is_not(tmp_path, monkeypatch):
    found = {"network": set(), "codec": set()}

    def watched(kind, name, part):
        inner = getattr(kind, name)

        def call(self, *args, **kwargs):
            found[part].add((torch.is_autocast_enabled("cpu"), torch.get_float32_matmul_precision()))
            return inner(self, *args, **kwargs)
        monkeypatch.setattr(kind, name, call)

    watched(UNet1d, "forward", "network")
    watched(MelCodec, "features", "codec")
    watched(MelCodec, "decode", "codec")
    before, settings = torch.get_float32_matmul_precision(), ["trainer.precision=bf16-mixed", "matmul=medium"]
    train(composed("train", [f"run={tmp_path / 'run'}", *TINY, *settings, "trainer.max_steps=1", "preview.n=1"]))
    assert (tmp_path / "run/previews/step-000000001/preview.png").exists()
    assert found["network"] == {(True, "medium")}
    assert (False, "medium") in found["codec"] and not any(low for low, _ in found["codec"])
    assert torch.get_float32_matmul_precision() == before, "the process is left as it was"
    assert all(0 < float(row["loss"]) < 10 for row in rows(tmp_path / "run"))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_samples(tmp_path):
    output = mmdiff("train", f"run={tmp_path / 'run'}", *TINY, "optim.lr=1e30", "optim.warmup=0", code=1)
    assert "is not finite" in output and "Traceback" not in output


@pytest.mark.parametrize(("override", "text"), [
    ("trainer.max_stepz=3", "did you mean 'trainer.max_steps'"),
    ("loader.batch_size=0", "batch_size is at least 1, got 0"), ("trainer.max_steps=abc", "at least 1, got 'abc'"),
    ("trainer.max_steps=-5", "trainer.max_steps is a whole number, at least 1"),
    ("adapter.codec.mel=speech", "no mel settings named"), ("diffusion/parameterization=noise", "Use V, Velocity"),
    ("loader.val=2.0", "share in"), ("checkpoint.keep=0", "checkpoint.keep is"),
    ("trainer.precision=16-mixed", "trainer.precision=16-mixed is not for this device"),
])
def test_a_mistake_is_told_before_the_first_step_without_a_traceback(tmp_path, override, text):
    output = mmdiff("train", f"run={tmp_path / 'run'}", *TINY, override, code=2)
    assert text in output and "Traceback" not in output
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_preview_that_fails_is_told_and_costs_nothing_else(tmp_path):
    words = ["trainer.max_steps=4", "preview.n=2", "preview.every=2"]
    words += ["guidance=autoguidance", "guidance.weak=nowhere"]
    output = mmdiff("train", f"run={tmp_path / 'run'}", *TINY, *words, cwd=tmp_path)
    assert "no preview of step 2: no model at nowhere" in output and "done" in output
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "and nothing lies beside the run"


def test_the_first_line_says_where_the_samples_come_from(tmp_path):
    output = mmdiff("train", f"run={tmp_path / 'run'}", *TINY, "trainer.max_steps=1")
    assert "46 training and 2 validation samples (too few for mmdiff eval) of Notes (made by code)" in output


def test_a_folder_must_be_named(tmp_path):
    assert "data.root" in mmdiff("train", f"run={tmp_path / 'run'}", "data=folder", code=2)


def test_a_sweep_makes_a_run_for_each_value(tmp_path):
    mmdiff("train", "-m", f"run={tmp_path}", *TINY, "trainer.max_steps=1", "seed=1,2")
    assert [[row["step"] for row in rows(tmp_path / name)] for name in ("seed-1", "seed-2")] == [["1"], ["1"]]


def test_the_configuration_can_be_shown_without_training(tmp_path):
    assert "max_steps: 77" in mmdiff("train", "--cfg", "job", "trainer.max_steps=77", cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def torchrun(*program, seconds=300):
    """Two processes of a program, as torchrun starts them."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *program]
    result = execute(launch, stdout=PIPE, stderr=STDOUT, text=True, timeout=seconds, check=False)
    assert result.returncode == 0, result.stdout


def test_torchrun_tells_processes_what_the_tests_of_several_processes_tell(tmp_path):
    code = "import json, os; open(os.environ['RANK'], 'w').write(json.dumps(dict(os.environ)))"
    (tmp_path / "program.py").write_text(f"import os; os.chdir({str(tmp_path)!r}); {code}")
    torchrun(tmp_path / "program.py")
    for rank in range(2):
        found, told = json.loads((tmp_path / str(rank)).read_text()), told_by_torchrun(rank, 2, 1)
        of_each_start = {"MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"}
        assert told.keys() <= found.keys()
        assert {k: found[k] for k in told.keys() - of_each_start} == {k: told[k] for k in told.keys() - of_each_start}


@pytest.mark.slow
def test_torchrun_starts_the_same_run(tmp_path):
    settings = [*TINY, "trainer.max_steps=3"]
    mmdiff("train", f"run={tmp_path / 'one'}", *settings)
    torchrun("-m", "mmdiff", "train", f"run={tmp_path / 'two'}", *settings, "trainer=ddp_cpu")
    one, two = ([float(row["loss"]) for row in rows(tmp_path / name)] for name in ("one", "two"))
    assert two == pytest.approx(one, rel=1e-5)
