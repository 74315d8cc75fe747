"""``metrics.csv``: one row a step, readable while training runs, and continued without a gap or a double."""

import csv
import os
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger


class MetricsCsv(Logger):
    """Wide CSV with a column a metric; ``start`` is the step that a resumed run continues from.

    Floats are written with the digits that give them back exactly.
    """

    def __init__(self, path: str | Path, *, start: int = 0):
        super().__init__()
        self.path, self.rows, self.columns = Path(path), {}, ["step"]
        self._continue(start)

    @rank_zero_only
    def _continue(self, start: int) -> None:
        if self.path.exists():
            with self.path.open(newline="") as file:
                reader = csv.DictReader(file)
                self.rows = {int(row["step"]): row for row in reader if int(row["step"]) <= start}
                self.columns = list(reader.fieldnames or self.columns)
            self._rewrite()

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args, **kwargs) -> None:
        """Nothing: the run directory holds the whole configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add values to the row of ``step``."""
        values = {name: repr(float(value)) for name, value in metrics.items() if name != "epoch"}
        new = [name for name in values if name not in self.columns]
        self.columns += new
        if self.rows and not new and step not in self.rows:
            self.rows[step] = {"step": str(step), **values}
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(self.rows[step])
        else:
            self.rows.setdefault(step, {"step": str(step)}).update(values)
            self._rewrite()

    def _rewrite(self) -> None:
        temporary = self.path.with_suffix(".csv.partial")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows[step] for step in sorted(self.rows))
        os.replace(temporary, self.path)
