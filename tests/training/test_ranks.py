"""Two processes train the model that one process trains."""

import csv

import pytest
import torch

from mmdiff.training.checkpoints import latest
from tests.conftest import TINY, mmdiff


def losses(run, column="loss"):
    with (run / "metrics.csv").open(newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file) if row[column]]


def weights(run):
    return torch.load(latest(run / "checkpoints")[0], weights_only=True)["state_dict"]


def test_two_ranks_and_accumulation_agree_with_one_process(tmp_path):
    settings = [*TINY, "trainer.max_steps=8"]
    cells = {
        "one": [], "two": ["trainer=ddp_cpu"], "accumulated": ["trainer.accumulate_grad_batches=2"],
    }
    for name, overrides in cells.items():
        mmdiff("train", f"run={tmp_path / name}", *settings, *overrides)
    one = weights(tmp_path / "one")
    for name in ("two", "accumulated"):
        assert losses(tmp_path / name) == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
        assert losses(tmp_path / name, "val/loss") == pytest.approx(losses(tmp_path / "one", "val/loss"), rel=1e-5)
        for key, value in weights(tmp_path / name).items():
            torch.testing.assert_close(value, one[key], rtol=1e-4, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")
