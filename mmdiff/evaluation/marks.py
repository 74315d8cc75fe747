"""What a mark of a model's samples survives, and what it costs.

    found         share of samples that are found among ``seeds`` at a false-positive rate of ``rate``, all told
    z             of the comparison with what the sample was made with
    bits right    of its message

A row for the files as they are saved, and for each attack of the modality; as many files without the mark are the
floor. A row that is 0 says that the mark does not survive there, and so does the text.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from ..adapters.attacks import Attack, changed
from ..data.dataset import spread
from ..data.progress import progress_bar
from ..data.writing import write_atomic
from ..generation.pipeline import BATCH, Pipeline
from ..generation.request import Request
from ..marks.base import Candidate, Found
from ..metrics.bootstrap import bootstrap
from ..metrics.classify import proportion
from ..metrics.rows import Row, Value, markdown, plain
from .bench import Evaluator
from .evaluated import EvaluatedRun
from .protocol import Protocol
from .scorer import LEAST

SAVED, FLOOR = "as saved", "no mark"
NEVER = 2**40
"""What is added to seeds that no sample was made with."""
WEAK = 0.95
"""Share of samples below which a mark is said to survive in part, and half of them below which it fails."""


class MarkTest:
    """``n`` samples of a pipeline with a mark, with the labels of held-out ones and seeds from ``seed`` on."""

    def __init__(
        self, evaluated: EvaluatedRun, pipeline: Pipeline, out: Path, *, n: int = 100, seed: int = 0, seeds: int = 1000,
        rate: float = 1e-6, shifts: int = 4,
    ):
        self.evaluated, self.pipeline, self.out, self.rate, self.shifts = evaluated, pipeline, out, rate, shifts
        self.mark, self.codec, self.name = pipeline.mark, pipeline.model.codec, pipeline.mark.name
        samples = evaluated.held_out or evaluated.train
        labels = [samples.read(i)[1] for i in spread(len(samples), n)]
        self.requests = [Request(seed=seed + i, labels=labels[i % len(labels)]) for i in range(n)]
        self.looked_for = len({self.mark.index(s) for s in range(seeds)})

    def report(self, *, quality: bool = True) -> str:
        """Write ``out/NAME.json`` and ``.md``; gives the text of the second."""
        files = self._files(self.pipeline, self.name)
        rows: list[Row] = []
        attacks = {SAVED: changed(lambda x: x), **self.codec.attacks()}
        for name, attack in progress_bar(attacks.items(), "attacks", unit="attack", leave=False):
            rows.append(self._attacked(name, attack, files))
        bare = Pipeline(self.evaluated.pipeline.model, self.evaluated.pipeline.header)
        unmarked = self._files(bare, FLOOR.replace(" ", "-"))
        rows.append(self._row(FLOOR, self._scored(unmarked, lost=True)))
        change = self._change(files, unmarked)
        costs, note = self._costs(bare) if quality else ([], "")
        text = self._text(rows, change, costs, note)
        facts = {
            "mark": self.pipeline.settings["mark"], "model": self.pipeline.header["sha256"], "n": len(self.requests),
            "seeds": self.looked_for, "rate": self.rate, "shifts": self.shifts,
            "rows": list(map(plain, rows)), "change": plain(change), "quality": list(map(plain, costs)),
        }
        write_atomic(self.out / f"{self.name}.json", json.dumps(facts, indent=1).encode())
        write_atomic(self.out / f"{self.name}.md", text.encode())
        return text

    def _files(self, pipeline: Pipeline, name: str) -> list[Tensor]:
        """The samples as their files hold them; what was made before is not made again."""
        paths = pipeline.save(self.requests, self.out / name, batch_size=min(len(self.requests), BATCH), replace=True)
        return [self.codec.load(path, **pipeline.size) for path in paths]

    def _attacked(self, name: str, attack: Attack, files: Sequence[Tensor]) -> Row:
        try:
            with TemporaryDirectory() as folder:
                samples = [attack(sample, Path(folder)) for sample in files]
            return self._row(name, self._scored(samples))
        except (ValueError, OSError, ImportError) as error:
            return {"after": name, "found": f"not tried: {' '.join(str(error).split())}"}

    def _scored(self, samples: Sequence[Tensor], *, lost: bool = False) -> list[Found]:
        """Each compared with what it was made with, or where it is ``lost`` with what nothing was made with."""
        shape = self.codec.latent_shape(**self.pipeline.size)
        wanted = [[Candidate(request.seed + NEVER * lost, shape)] for request in self.requests]
        return self.mark.score(samples, self.pipeline.model.source, wanted, shifts=self.shifts)

    def _row(self, name: str, found: Sequence[Found]) -> Row:
        detected = [f.log_rate + math.log(self.looked_for) <= math.log(self.rate) for f in found]
        z = torch.tensor([f.z for f in found], dtype=torch.float64)
        row: dict[str, Value] = {
            "after": name, "found": proportion(torch.tensor(detected)), "z": bootstrap(z, resamples=500),
            "least z": float(z.min()),
        }
        if self.mark.bits:
            right = [_bit_accuracy(str(f.facts["message"]), self.mark.message) for f in found]
            row["bits right"] = bootstrap(torch.tensor(right, dtype=torch.float64), resamples=500)
        return row

    def _change(self, files: Sequence[Tensor], unmarked: Sequence[Tensor]) -> Row:
        """How far samples are from those of the same seeds without the mark, where the modality has such a number."""
        try:
            judge = self.codec.judge()
        except ValueError:
            return {}
        x, truth = (judge.stacked(samples, self.codec, self.pipeline.size) for samples in (files, unmarked))
        return {name: bootstrap(value, resamples=500) for name, value in judge.paired(x, truth).items()}

    def _costs(self, bare: Pipeline) -> tuple[list[Row], str]:
        """Samples without and with the mark, judged as ``mmdiff eval`` judges them; or why they are not."""
        try:
            judge = self.codec.judge()
        except ValueError as error:
            return [], str(error)
        protocol = Protocol(f"{judge.name} marked", judge, n=max(LEAST, len(self.requests)))
        bench = Evaluator(self.evaluated, protocol, self.out / "quality")
        rows: list[Row] = []
        for name, pipeline in ((FLOOR, bare), (self.name, self.pipeline)):
            report = bench.report(pipeline, controls=False)["rows"]
            rows += [{"samples": "real", **report["real"]}] if not rows else []
            rows.append({"samples": name, **report["model"]})
        return rows, ""

    def _text(self, rows: Sequence[Row], change: Row, costs: Sequence[Row], note: str) -> str:
        parts = [
            f"# mark={self.name} on {len(self.requests)} samples of model {self.pipeline.header['sha256'][:12]}",
            f"found: among {self.looked_for} that may have been made, with a false-positive rate of {self.rate:g} in "
            "all; intervals are of 95 %",
            markdown(rows), *(f"{word}: {'; '.join(names)}." for word, names in self._verdicts(rows).items() if names),
        ]
        if change:
            parts += ["Against the samples of the same seeds without it:", markdown([change])]
        if costs:
            metrics = list(dict.fromkeys(name for row in costs for name in row if name != "samples"))
            turned = [{"metric": m, **{str(row["samples"]): row[m] for row in costs if m in row}} for m in metrics]
            parts += ["What it costs, as mmdiff eval measures it:", markdown(turned)]
        parts += [f"What it costs is not measured: {note}"] if note else []
        return "\n\n".join(parts) + "\n"

    def _verdicts(self, rows: Sequence[Row]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {"Fails": [], "Survives in part": []}
        for row in rows:
            value: Any = row["found"]
            if row["after"] != FLOOR and not isinstance(value, str) and value.value < WEAK:
                word = "Fails" if value.value < WEAK / 2 else "Survives in part"
                found[word].append(f"{row['after']} ({value.value:.0%})")
        return found


def _bit_accuracy(one: str, other: str) -> float:
    """Share of equal bits of two messages."""
    return 1 - (int(one, 16) ^ int(other, 16)).bit_count() / (4 * len(one))
