"""The ledger mark: nothing is embedded. The noise of a sample is a keyed signal already, of its seed.

    e = noise that the file goes back to,   r = noise that generation starts from with a seed of the ledger

It says "this model, this seed", and anybody who has the weights can look for small seeds too.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.invert import invert
from ..core.rng import Purpose, normal
from ..core.types import Masked
from .base import Candidate, Source
from .keyed import Correlated


class LedgerMark(Correlated):
    """Looks for the noise of the seeds that a log names. ``steps`` of the way back are two network calls each."""

    embeds = False

    def __init__(self, *, steps: int = 10):
        self.steps = steps

    def evidence(self, latents: Tensor, source: Source) -> Tensor:
        return invert(source.denoise, latents, source.schedule, steps=self.steps)

    def reference(self, candidates: Sequence[Candidate], channels: int) -> Tensor:
        like = Masked(torch.empty(len(candidates), channels, *candidates[0].shape))
        seeds, draws = [candidate.seed for candidate in candidates], torch.zeros(len(candidates), dtype=torch.long)
        return normal(seeds, draws, Purpose.START, like)


def read_ledger(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a log that have a ``seed``: of a ``.jsonl`` file, or of all below a folder (a job's manifest, an
    audit); a last line that is half written is none. ``ValueError`` where there is none, or a line is no row."""
    path = Path(path).expanduser()
    files = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
    rows = []
    for file in files:
        try:
            *lines, torn = file.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"ledger={path}: {file} cannot be read: {error}") from None
        for number, line in enumerate([*lines, torn], 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                if number > len(lines):             # half written, of a job that was stopped or goes on
                    continue
                raise ValueError(f"ledger={path}: line {number} of {file} is no JSON") from None
            if isinstance(row, dict) and isinstance(row.get("seed"), int):
                rows.append(row)
    if not rows:
        raise ValueError(f"ledger={path} names no seed: it is a .jsonl file, or a folder of some, with a row a sample")
    return rows
