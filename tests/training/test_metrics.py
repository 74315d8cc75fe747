import csv
import errno
import gc
import os
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmdiff.training.metrics import MetricsCsv, log


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_columns_may_appear_late_and_floats_come_back_exactly(tmp_path):
    log = MetricsCsv(tmp_path / "m.csv")
    log.log_metrics({"loss": 0.1 + 0.2}, step=1)
    log.log_metrics({"loss": 1e-9}, step=2)
    log.log_metrics({"val/loss": 3.0}, step=2)
    log.log_metrics({"loss": 2.0}, step=3)
    table = rows(tmp_path / "m.csv")
    assert [row["step"] for row in table] == ["1", "2", "3"]
    assert float(table[0]["loss"]) == 0.1 + 0.2 and table[1]["val/loss"] == "3.0" and table[2]["val/loss"] == ""


def test_a_resumed_log_drops_what_came_after_the_checkpoint(tmp_path):
    log = MetricsCsv(tmp_path / "m.csv")
    for step in range(1, 8):
        log.log_metrics({"loss": step}, step=step)
    again = MetricsCsv(tmp_path / "m.csv", start=4)
    again.log_metrics({"loss": 50.0}, step=5)
    assert [(r["step"], float(r["loss"])) for r in rows(tmp_path / "m.csv")] == [
        ("1", 1.0), ("2", 2.0), ("3", 3.0), ("4", 4.0), ("5", 50.0)
    ]


@pytest.mark.parametrize("tail", [b"\0" * 512, b"4,0.1", b"4\r\n", b"x,1.0\r\n", b"4,0.\0\0\r\n", b"4,abc\r\n"])
def test_rows_that_a_power_cut_damaged_are_left_out_and_told(tmp_path, tail):
    path = tmp_path / "m.csv"
    log = MetricsCsv(path)
    for step in range(1, 4):
        log.log_metrics({"loss": step}, step=step)
    path.write_bytes(path.read_bytes() + tail)
    with pytest.warns(UserWarning, match=r"m.csv: 1 damaged row\(s\) left out"):
        again = MetricsCsv(path, start=9)
    again.log_metrics({"loss": 4}, step=4)
    assert [row["step"] for row in rows(path)] == ["1", "2", "3", "4"]


def test_a_log_whose_head_is_damaged_is_put_aside_and_told(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"\0" * 100)
    with pytest.warns(UserWarning, match="damaged"):
        log = MetricsCsv(path, start=9)
    log.log_metrics({"loss": 1}, step=10)
    assert [row["step"] for row in rows(path)] == ["10"] and (tmp_path / "m.csv.damaged").read_bytes() == b"\0" * 100


def test_an_empty_field_and_values_that_are_not_finite_are_no_damage(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("step,loss,val/loss\r\n1,inf,\r\n2,nan,0.5\r\n", newline="")
    gc.collect()                                                      # what other tests left tells of itself now
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        MetricsCsv(path, start=9)
    ours = [warning for warning in told if warning.category is not ResourceWarning]
    assert [row["loss"] for row in rows(path)] == ["inf", "nan"] and not ours


def test_a_full_disk_is_told_and_the_row_is_there_once_there_is_room(tmp_path, monkeypatch):
    log_file = MetricsCsv(tmp_path / "m.csv")
    trainer = SimpleNamespace(loggers=[log_file])
    log(trainer, {"loss": 1}, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.warns(UserWarning, match="log has not got step 2: .*No space left"):
            log(trainer, {"loss": 2}, 2)
    log(trainer, {"loss": 3}, 3)
    assert [row["loss"] for row in rows(tmp_path / "m.csv")] == ["1.0", "2.0", "3.0"]


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
