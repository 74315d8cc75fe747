"""What demonstrations of personal models share: the ways that are compared, and the table of them."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mmdiff.config.overrides import completed, composed
from mmdiff.metrics.rows import markdown
from mmdiff.model import DiffusionModel
from mmdiff.store import load_model
from mmdiff.training.train import train

WHOLE, ROWS, NONE = ["lora=null", "optim.lr=1e-3"], ["lora=0"], ["prior=null"]
Way = tuple[list[str], int]
"""What differs from ``experiment=personal``, and which choice of ten files is learned."""
WAYS: dict[str, Way] = {
    "LoRA 8 + prior": ([], 0), "LoRA 8": (NONE, 0), "whole + prior": (WHOLE, 0), "whole": (WHOLE + NONE, 0),
    "rows + prior": (ROWS, 0), "rows": (ROWS + NONE, 0),
}
Judged = Callable[[DiffusionModel, int], dict[str, float]]
"""A row of the table, of a model that learned a choice of ten files."""


def links(folder: Path, files: Sequence[Path]) -> Path:
    """A folder of links to some files."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file.resolve())
    return folder


def run(words: list[str], folder: Path) -> Path:
    """A finished run."""
    train(composed("train", [*words, f"run={folder}"]), completed("train", [*words, f"run={folder}"]))
    return folder


def share(found: Sequence[str], wanted: Sequence[str]) -> float:
    """How many are as they were asked for."""
    return sum(map(str.__eq__, found, wanted)) / len(found)


def compare(
    out: Path, base: Path, ways: Mapping[str, Way], words: list[str], *, only: Sequence[str],
    ten: Callable[[int], Path], judged: Judged,
) -> None:
    """Train every way of ``only`` on the files of ``ten(choice)``, judge it, and print the table of all that is in
    ``out`` by now."""
    rows = out / "rows.json"
    table = json.loads(rows.read_text()) if rows.exists() else {}
    for name in ["base", *only]:
        more, choice = ways.get(name, ([], 0))
        if name in table:
            continue
        personal = [f"init={base}", "experiment=personal", f"data.root={ten(choice)}", "preview.every=0", *words, *more]
        tuned = base if name == "base" else run(personal, out / re.sub(r"\W+", "-", name))
        table[name] = judged(load_model(tuned)[0], choice)
        rows.write_text(json.dumps(table))
        print(name, table[name], flush=True)
    print(markdown([{"": name, **table[name]} for name in {**ways, "base": ()} if name in table]))
