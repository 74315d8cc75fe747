import csv

from mmdiff.training.metrics import MetricsCsv


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
