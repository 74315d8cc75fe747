"""A folder of generated files, each with the sidecar that says what was asked for.

    name.wav    name.json = {"labels": {"digit": "7", "speaker": "jackson"}, "seed": 3, ...}
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .rows import Row, markdown, plain


class Generated(NamedTuple):
    """One file and its sidecar."""

    path: Path
    facts: dict[str, Any]

    @property
    def labels(self) -> dict[str, Any]:
        """What was asked for."""
        return self.facts["labels"]


def generated(folder: Path, *, suffix: str, fields: tuple[str, ...]) -> list[Generated]:
    """The files of a folder, sorted by name, each labelled with all of ``fields``.

    ``ValueError`` names the folder without files, or the file without a sidecar or a label.
    """
    paths = sorted(folder.glob(f"[!.]*{suffix}"))
    if not paths:
        raise ValueError(f"no *{suffix} in {folder}: name the folder that mmdiff sample wrote to")
    return [Generated(path, _facts(path, fields)) for path in paths]


def _facts(path: Path, fields: tuple[str, ...]) -> dict[str, Any]:
    sidecar = path.with_suffix(".json")
    try:
        facts = json.loads(sidecar.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} has no sidecar {sidecar.name}: repeat its mmdiff sample to finish the job") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the sidecar {sidecar} is not JSON: {error}") from None
    labels = facts.get("labels") if isinstance(facts, dict) else None
    if missing := [name for name in fields if not isinstance(labels, dict) or labels.get(name) is None]:
        raise ValueError(f"{sidecar} does not say which {' and '.join(missing)} was asked for, so it cannot be judged")
    return facts


def measure(
    report: Callable[[Path], Mapping[str, Row]], arguments: Sequence[str] | None, *, name: str, about: str, files: str
) -> int:
    """Print the rows that ``report`` gives for a folder; 0, or 2 with the reason where it raises ``ValueError``."""
    parser = argparse.ArgumentParser(prog=f"python -m mmdiff.adapters.{name}", description=about.split("\n")[0])
    parser.add_argument("samples", type=Path, help=f"folder of {files} files with sidecars, as mmdiff sample writes it")
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    options = parser.parse_args(arguments)
    try:
        rows = report(options.samples)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(markdown([{"set": title, **row} for title, row in rows.items()]))
    if options.out:
        options.out.write_text(json.dumps({title: plain(row) for title, row in rows.items()}, indent=1))
    return 0
