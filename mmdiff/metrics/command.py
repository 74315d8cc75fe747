"""The command of a module that measures a folder of generated files: python -m mmdiff.evaluation.NAME FOLDER."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .rows import Row, markdown, plain


def measure(
    report: Callable[[Path], Mapping[str, Row]], arguments: Sequence[str] | None, *, name: str, about: str, files: str
) -> int:
    """Print the rows that ``report`` gives for a folder; 0, or 2 with the reason where it raises ``ValueError``."""
    parser = argparse.ArgumentParser(prog=f"python -m mmdiff.evaluation.{name}", description=about.split("\n")[0])
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
