"""A model card: what a run is, what it learned from, how good it is and for whom, as a README with the header that
Hugging Face reads. Everything in it is read from the run; what only its makers know is told, or said to be untold.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ...config.files import CONFIG_FILE, load_yaml
from ...config.header import chain, consent, model_file, read_header
from ...config.record import DATA_FILE
from ...data.labels import is_scalar, is_text
from ...metrics.bootstrap import Interval
from ...metrics.rows import markdown
from .page import read_report

UNSTATED = "Not told by those who trained it."
LISTED = 12
"""Classes of a field that are named."""


def card(run: Path, *, licence: str | None = None, use: str | None = None) -> str:
    """The card of a run directory, in Markdown. ``licence`` is an SPDX name, ``use`` what the model is meant for."""
    header = read_header(model_file(run))
    return f"{head(header, licence=licence)}\n# {run.absolute().name}\n\n{body(run, header, licence=licence, use=use)}"


def body(run: Path, header: Mapping[str, Any], *, licence: str | None = None, use: str | None = None) -> str:
    """The card below its title."""
    file = model_file(run)
    report = read_report(found) if (found := run / "eval" / "report.json").exists() else None
    licence = licence or _licence(header)
    parts = {
        "Model": _model(file, header), "Training data": _data(run, header), "Evaluation": _evaluation(report, header),
        "Groups served worst": _groups(report), "Intended use": [use or UNSTATED], "Licence": [licence or UNSTATED],
        "Files that it makes": [
            "Every file that mmdiff makes with it has a record of its making, can be made again bit for bit "
            "(`mmdiff reproduce FILE`), and can be signed, marked and logged.",
        ],
    }
    return "\n\n".join(f"## {title}\n\n" + "\n".join(lines) for title, lines in parts.items()) + "\n"


def head(header: Mapping[str, Any], *, licence: str | None = None, library: str = "mmdiff", task: str = "") -> str:
    """What Hugging Face reads of a model: also of which public model it is a change, and by what licence that came."""
    licence, public = licence or _licence(header), _public(header)
    facts: dict[str, Any] = {"license": licence.lower()} if licence else {}
    if public and licence and not licence.replace("-", "").replace(".", "").isalnum():
        facts = {"license": "other", "license_name": licence}
    facts |= {"library_name": library}
    if public:
        facts |= {"base_model": public["name"], "base_model_relation": "adapter"}
    facts |= {"pipeline_tag": task} if task else {}
    kind = header["config"]["adapter"]["codec"]["_target_"].split(".")[-3:][0]
    tags = ["mmdiff", kind, *(["lora"] if public else [])]
    return "\n".join(["---", yaml.safe_dump({**facts, "tags": tags}, sort_keys=False).strip(), "---", ""])


def _public(header: Mapping[str, Any]) -> dict[str, Any] | None:
    """The public model that a model began with, where it did."""
    return next((base for base in header.get("bases", []) if "licence" in base), None)


def _licence(header: Mapping[str, Any]) -> str | None:
    public = _public(header)
    return None if public is None else str(public["licence"])


def _model(file: Path, header: Mapping[str, Any]) -> Iterator[str]:
    config, adapter = header["config"], header["config"]["adapter"]
    nodes = {"codec": adapter.get("codec"), "network": adapter.get("network"), "sampler": config.get("sampler"),
             "guidance": config.get("guidance")}
    parts = {name: node for name, node in nodes.items() if node}
    yield f"- Step {header.get('step')}, SHA-256 `{header['sha256']}`"
    yield "- " + ", ".join(f"{name} `{_class(node)}`" for name, node in parts.items())
    if size := config.get("size"):
        yield f"- Size of a usual sample: {', '.join(f'{name} {value:g}' for name, value in size.items())}"
    for base in chain(file, header)[1:]:
        at = "" if base.get("step") is None else f"step {base['step']}, "                      # a public model has none
        yield f"- Began as {base['name']} ({at}SHA-256 `{base['sha256']}`)"


def _data(run: Path, header: Mapping[str, Any]) -> Iterator[str]:
    fields = (header["config"]["adapter"].get("conditioner") or {}).get("fields", {})
    yield f"- Consent of those who are seen or heard: {consent(header).get('consent', UNSTATED)}"
    if (run / CONFIG_FILE).exists():
        data = load_yaml(run / CONFIG_FILE).data
        yield f"- Data set `{_class(data)}`" + (f" of `{data['root']}`" if data.get("root") else "")
    if (run / DATA_FILE).exists():
        lists = json.loads((run / DATA_FILE).read_text(encoding="utf-8"))
        count = {name: len(lists.get(name, [])) for name in ("training", "held out", "skipped")}
        yield f"- {count['training']} samples to learn from, {count['held out']} held out, {count['skipped']} skipped"
    for name, field in fields.items():
        yield f"- Told `{name}`: {_field(field)}"


def _field(field: Any) -> str:
    if is_text(field):
        return "any text"
    if is_scalar(field):
        return f"a number from {field[0]:g} to {field[1]:g}"
    more = f" and {len(field) - LISTED} more" if len(field) > LISTED else ""
    return f"{len(field)} classes: {', '.join(map(str, field[:LISTED]))}{more}"


def _evaluation(report: Mapping[str, Any] | None, header: Mapping[str, Any]) -> Iterator[str]:
    if report is None:
        yield "Not measured: `mmdiff eval RUN` does."
        return
    if (judged := report.get("model", {})).get("sha256") != header["sha256"]:
        yield f"Of an earlier state, step {judged.get('step')} (SHA-256 `{judged.get('sha256')}`).\n"
    rows = {name: row for name, row in report["rows"].items() if not name.startswith("control")}
    metrics = dict.fromkeys(metric for row in rows.values() for metric in row)
    yield f"By protocol {report['protocol']['name']} (SHA-256 `{report['protocol_sha256']}`), with 95 % intervals:\n"
    yield markdown([{"": m, **{name: _cell(row.get(m, "")) for name, row in rows.items()}} for m in metrics])


def _groups(report: Mapping[str, Any] | None) -> Iterator[str]:
    if report is None:
        yield "Not measured."
        return
    behind = [gap for gap in report.get("gaps", []) if gap["beyond chance"] == "yes"]
    if not behind:
        yield "No group is behind another beyond chance."
    for gap in behind:
        value, real = (_words(gap[name]) for name in ("its value", "real"))
        yield f"- {gap['by']} {gap['worst']}, by {gap['metric']}: {value}, real samples {real}; best is {gap['best']}"


def _words(value: Any) -> str:
    return f"{value['value']:.3g} [{value['low']:.3g}, {value['high']:.3g}]" if isinstance(value, dict) else str(value)


def _cell(value: Any) -> Any:
    return Interval(**value) if isinstance(value, dict) else value


def _class(node: Any) -> str:
    return str(node["_target_"]).rpartition(".")[2]
