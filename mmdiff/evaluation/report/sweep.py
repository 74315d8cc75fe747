"""The reports of a sweep in one table and one plot."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...data.writing import write_atomic
from ...metrics.rows import markdown, plain
from .findings import behind, disobeyed
from .plots import curves

HEADLINE = 6
"""Metrics of the plot."""


def write_sweep(swept: Sequence[tuple[Mapping[str, str], Mapping[str, Any]]], out: Path) -> str:
    """Write sweep.json, .md and .png: a row for each combination; gives the table."""
    out.mkdir(parents=True, exist_ok=True)
    floor, table, measured = swept[0][1]["rows"]["real"], [], []
    better = swept[0][1]["better"]
    models = [row for _, report in swept for name, row in report["rows"].items() if name != "real"]
    columns = [m for m, sign in better.items() if sign and m in models[0] and m != "copies" and not m.startswith("W1")]
    metrics = columns[:HEADLINE]
    for choice, report in swept:
        for name, row in report["rows"].items():
            if name == "real":
                continue
            model, cost = report["model"], report["model"]["cost"][name]
            table.append({
                **{f"{key}=": value for key, value in choice.items()},             # precision is a metric, too
                "row": name, "calls": model["calls"],
                "CPU seconds a sample": cost["cpu_seconds"] if cost else "not measured",
                "seconds a sample": cost["seconds"] if cost else "not measured",
                "MB of weights": model["bytes"] / 1e6,
                **{m: row[m] for m in [*columns, "nearest", "diversity"] if m in row},
                "worst group": " in ".join(map(str, [*behind(report), ("none", 0)][0])) + " metrics",
            })
            measured.append((choice, model["calls"], row))
    real = {"row": "real", **{m: floor[m] for m in [*columns, "nearest", "diversity"] if m in floor}}
    warnings = [
        f"{', '.join(f'{key}={value}' for key, value in choice.items())}: {warning}"
        for choice, report in swept for warning in disobeyed(
            {name: row for name, row in report["rows"].items() if name != "real"}, floor, better
        )
    ]
    text = "\n\n".join([markdown([*table, real]), *warnings])
    rows = {"protocols": [report["protocol"] for _, report in swept], "rows": [plain(row) for row in [*table, real]]}
    write_atomic(out / "sweep.md", f"{text}\n".encode())
    write_atomic(out / "sweep.json", json.dumps(rows, indent=1).encode())
    curves(measured, floor, metrics, out / "sweep.png")
    return text
