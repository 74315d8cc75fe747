"""``metrics.csv``: one row a step, readable while training runs, and continued without a gap or a double."""

import csv
import io
import math
import os
import warnings
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger

from ..data.writing import write_atomic


def log(trainer: L.Trainer, values: dict[str, float], step: int) -> None:
    """Tell all logs of a run; one that cannot be written (a full disk) is told of, and the run goes on."""
    for logger in trainer.loggers:
        try:
            logger.log_metrics(values, step=step)
        except OSError as error:
            warnings.warn(f"the {logger.name} log has not got step {step}: {error}", stacklevel=2)


class MetricsCsv(Logger):
    """Wide CSV with a column a metric; ``start`` is the step that a resumed run continues from.

    Floats are written with the digits that give them back exactly. Rows that a power cut has damaged are left out when
    the file is continued, and told; where its head is, it is put aside as ``metrics.csv.damaged``.
    """

    def __init__(self, path: str | Path, *, start: int = 0):
        super().__init__()
        self.path, self.columns = Path(path), ["step"]
        self.rows: dict[int, dict[str, str]] = {}
        self._complete = True                                         # whether the file has all of ``rows``
        self._continue(start)

    @rank_zero_only
    def _continue(self, start: int) -> None:
        if not self.path.exists():
            return
        *lines, rest = self.path.read_bytes().split(b"\n")            # a row ends where it was written to its end
        columns = _cells(lines[0]) if lines else []
        if columns[:1] != ["step"] or len(set(columns)) < len(columns):
            aside = self.path.with_name(f"{self.path.name}.damaged")
            os.replace(self.path, aside)
            warnings.warn(f"{self.path} is damaged: it is kept as {aside.name}, and a new one begun", stacklevel=2)
            return
        self.columns, damaged = columns, int(bool(rest))
        for line in lines[1:]:
            row = dict(zip(columns, _cells(line), strict=False))
            if len(row) < len(columns) or not _is_row(row):
                damaged += 1
            elif int(row["step"]) <= start:
                self.rows[int(row["step"])] = row
        if damaged:
            warnings.warn(f"{self.path}: {damaged} damaged row(s) left out, as a power cut leaves them", stacklevel=2)
        self._rewrite()

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run directory holds the whole configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add values to the row of ``step``. Where that fails (``OSError``) the next call makes up for it."""
        if step is None:
            raise ValueError("a row of metrics is that of a step: log them with step=")
        values = {name: repr(float(value)) for name, value in metrics.items() if name != "epoch"}
        new = [name for name in values if name not in self.columns]
        self.columns += new
        another = self._complete and bool(self.rows) and not new and step not in self.rows
        self.rows.setdefault(step, {"step": str(step)}).update(values)
        self._complete = False
        if another:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(self.rows[step])
        else:
            self._rewrite()
        self._complete = True

    def _rewrite(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns)
        writer.writeheader()
        writer.writerows(self.rows[step] for step in sorted(self.rows))
        write_atomic(self.path, text.getvalue().encode())


def _cells(line: bytes) -> list[str]:
    return next(csv.reader([line.decode(errors="replace").strip("\r")]), [])


def _is_row(row: dict[str, str]) -> bool:
    """Whether the step is a whole number, and all that is there besides a number."""
    try:
        return int(row["step"]) >= 0 and all(not v or not math.isnan(float(v)) or v == "nan" for v in row.values())
    except ValueError:
        return False
