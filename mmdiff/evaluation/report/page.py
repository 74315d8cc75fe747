"""A report as JSON, Markdown and one HTML page that holds its pictures; and two reports in one table."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...data.writing import write_atomic
from ...metrics.bootstrap import Interval
from ...metrics.rows import Row, cell_text, markdown
from ..against import sentence
from ..following import unfollowed
from ..prediction import outdone
from ..protocol import differences
from ..retrieval import misread
from ..subject import described
from .findings import behind, disobeyed
from .plots import confusions, intervals

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; font-size: 13px } td, th { border-bottom: 1px solid #ddd; padding: 3px 8px }
td:first-child, th { text-align: left } td { text-align: right; white-space: nowrap } .wide { overflow-x: auto }
img { max-width: 100% } .blind { color: #aaa } code { font-size: 12px } tr:nth-child(even) { background: #f7f7f7 }
"""
FEW = 50
"""Samples below which a report warns that it sees little."""


def write_report(report: Mapping[str, Any], out: Path) -> None:
    """Write report.json, .md and .html into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(f"## {title}\n\n{body}" for title, body in sections(report))
    text = f"# {heading(report)}\n\n{text}\n"
    write_atomic(out / "report.md", text.encode())
    write_atomic(out / "report.json", json.dumps(as_json(report), indent=1).encode())
    pictures = {f"samples: {name}": Path(path) for name, path in report["pictures"].items()}
    pictures["every metric, with 95 % intervals"] = intervals(report["rows"], out / "pictures" / "intervals.png")
    if report["confusion"]:
        pictures["confusion, first seed"] = confusions(report["confusion"], out / "pictures" / "confusion.png")
    write_atomic(out / "report.html", _page(report, pictures).encode())


def heading(report: Mapping[str, Any]) -> str:
    """What was judged, in a line."""
    model = report["model"]
    added = "".join(f" with {part['name']} x {part['scale']:g}" for part in model["lora"])
    return (
        f"{report['protocol']['name']}: model {str(model['sha256'])[:12]} at step {model['step']}{added}, "
        f"{model['calls']} network calls, protocol {report['protocol_sha256'][:12]}"
        + (f", consent: {model['consent']}" if model.get("consent") else "")
    )


def sections(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The report in Markdown: (title, body)."""
    rows = report["rows"]
    parts = [("Summary", "\n\n".join(summary(report))), ("Rows", markdown(turned(rows)))]
    parts += [(f"Against {name}", markdown(found["table"])) for name, found in report.get("against", {}).items()]
    if report.get("prediction"):
        parts.append(predictions(report))
    for name, rows in report.get("maps", {}).items():
        parts.append((f"Distance to the map {name}", markdown([{"": kind, **row} for kind, row in rows.items()])))
    if report.get("subject"):
        parts.append(("The subject", markdown([{"": kind, **row} for kind, row in report["subject"].items()])))
    for name, rows in report.get("retrieval", {}).items():
        parts.append((f"{name} among others", markdown([{"": kind, **row} for kind, row in rows.items()])))
    parts.append(("What each metric sees", "Blind: not told apart from real samples.\n\n" + markdown(seen(report))))
    for field, groups in report["groups"]["model"].items():
        parts.append((f"Model by {field}", markdown(turned(groups))))
        parts.append((f"Real by {field}", markdown(turned(report["groups"]["real"][field]))))
    if report["gaps"]:
        parts.append(("Worst groups", "Behind real samples of the same group.\n\n" + markdown(report["gaps"])))
    cost = {name: value or {"seconds": "not measured"} for name, value in report["model"]["cost"].items()}
    parts.append(("Cost of a sample", markdown([{"": name, **value} for name, value in cost.items()])))
    facts = {"protocol": report["protocol"], "embedder": report["embedder"]}
    parts.append(("Protocol", f"```json\n{json.dumps(facts, indent=1)}\n```"))
    return parts


def predictions(report: Mapping[str, Any]) -> tuple[str, str]:
    """How well the rest of samples is predicted: (title, body)."""
    rows = [{"": name, **row} for name, row in report["prediction"].items()]
    return f"Prediction from the first {report['protocol']['predict']} positions", markdown(rows)


def summary(report: Mapping[str, Any]) -> list[str]:
    """What a report says, a line for each set of generated samples, and for what its reader must know besides."""
    rows, lines = report["rows"], []
    models = {name: row for name, row in rows.items() if name.startswith("model")}
    for name in models:
        judged = {metric: seen[name] for metric, seen in report["seen"].items() if name in seen}
        sensitive = [metric for metric, seen in judged.items() if seen]
        by = f"{len(sensitive)} of {len(judged)} metrics" + (f": {'; '.join(sensitive)}" if sensitive else "")
        lines.append(f"The {name} is told from real samples by {by}.")
    others = report.get("against", {}).items()
    lines += [sentence(found["table"], name="The model", other=name) for name, found in others]
    lines += [*disobeyed(models, rows["real"], report["better"]), *unfollowed(report.get("maps", {})),
              *misread(report.get("retrieval", {}))]
    lines += [described(report["subject"])] if report.get("subject") else []
    lines += outdone(report["prediction"]) if report.get("prediction") else []
    if worst := behind(report):
        groups = ", ".join(f"{group} ({count})" for group, count in worst)
        lines.append(f"Groups that are served worst, beyond chance, in so many metrics: {groups}.")
    if (n := rows["real"]["n"]) < FEW:
        lines.append(f"{n} samples show large faults alone: evaluation.n=200 and as many held-out samples show more.")
    return lines


def turned(rows: Mapping[str, Row]) -> list[dict[str, Any]]:
    """Metrics down, rows across."""
    metrics = dict.fromkeys(metric for row in rows.values() for metric in row)
    return [{"": metric, **{name: row.get(metric, "") for name, row in rows.items()}} for metric in metrics]


def seen(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Which row each metric tells apart from real samples: ``sees`` or ``blind``, and nothing where it has no value."""
    names = [name for name in report["rows"] if name != "real"]
    return [
        {"": metric, **{name.removeprefix("control: "): _word(cell_text.get(name)) for name in names}}
        for metric, cell_text in report["seen"].items()
    ]


def _word(seen: bool | None) -> str:
    return "" if seen is None else "sees" if seen else "blind"


def as_json(value: Any) -> Any:
    """Intervals as ``{"value", "low", "high"}`` at any depth."""
    if isinstance(value, Interval):
        return value._asdict()
    if isinstance(value, Mapping):
        return {str(name): as_json(v) for name, v in value.items()}
    return [as_json(v) for v in value] if isinstance(value, list | tuple) else value


def read_report(path: Path) -> dict[str, Any]:
    """A report.json; ``ValueError`` for a file that is none."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if not {"protocol", "protocol_sha256", "rows"} <= set(report):
            raise ValueError
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError):
        raise ValueError(f"{path} is no report of mmdiff eval") from None
    return report


def compared(a: Mapping[str, Any], b: Mapping[str, Any], *, names: Sequence[str]) -> str:
    """The models of two reports in one table; ``ValueError`` names the difference where protocols differ."""
    if a["protocol_sha256"] != b["protocol_sha256"]:
        found = differences(a["protocol"], b["protocol"])
        raise ValueError("the reports were made by two protocols and cannot be compared: " + "; ".join(found))
    rows: dict[str, Any] = {"real": a["rows"]["real"]}
    for name, report in zip(names, (a, b), strict=True):
        rows |= {f"{name}: {row}": values for row, values in report["rows"].items() if row.startswith("model")}
    rows = {name: {k: _interval(v) for k, v in row.items()} for name, row in rows.items()}
    real, *models = rows.items()
    return "\n\n".join([markdown(turned(rows)), *disobeyed(dict(models), real[1], a["better"])])


def _interval(value: Any) -> Any:
    return Interval(**value) if isinstance(value, Mapping) else value


def _page(report: Mapping[str, Any], pictures: Mapping[str, Path]) -> str:
    (title, body), *rest = sections(report)
    parts = [f"<h1>{html.escape(heading(report))}</h1><h2>{title}</h2>{_html(body)}"]
    for title, path in pictures.items():
        data, name = base64.b64encode(path.read_bytes()).decode(), html.escape(title)
        parts.append(f'<h2>{name}</h2><img alt="{name}" src="data:image/png;base64,{data}">')
    parts += [f"<h2>{html.escape(title)}</h2>{_html(body)}" for title, body in rest]
    title = html.escape(heading(report))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )


def _html(body: str) -> str:
    """The Markdown that ``sections`` writes: paragraphs, tables and one kind of code block."""
    if body.startswith("```"):
        return f"<pre><code>{html.escape(body.removeprefix('```json').strip('`').strip())}</code></pre>"
    lines = [line for line in body.split("\n") if line]
    text = "".join(f"<p>{html.escape(line)}</p>" for line in lines if not line.startswith("|"))
    cells = [[cell_text(c.strip()) for c in line[1:-1].split(" | ")] for line in lines if line.startswith("|")]
    table = ""
    for i, row in enumerate(cells):
        if i != 1:
            tag = "th" if i == 0 else "td"
            table += "<tr>" + "".join(
                f'<{tag}{" class=blind" if c == "blind" else ""}>{html.escape(c)}</{tag}>' for c in row
            ) + "</tr>"
    return f'{text}<div class="wide"><table>{table}</table></div>' if table else text
