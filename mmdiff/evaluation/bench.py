"""A trained model judged: its samples beside real ones, the codec's round trip and real ones made wrong.

    reference   training samples                      what sets are compared with
    real        held-out samples                      the floor: no model is expected below it
    codec       held-out samples, encoded and decoded
    model       samples with the labels of the held-out ones, a row a seed
    control     held-out samples made wrong in one way each

All rows have one n and one set of labels, so that numbers which depend on n, or on how often a class occurs, stay
comparable.
"""

import copy
import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..config.build import ConfigError
from ..config.header import consent
from ..core.types import Masked
from ..data.batch import pad, unpad
from ..data.dataset import spread
from ..data.labels import Fields, Label, suggest, text
from ..data.progress import progress_bar
from ..data.writing import write_atomic
from ..engines.precision import weight_bytes
from ..generation.pipeline import Pipeline
from ..generation.request import Request
from ..metrics.classify import confusion
from ..metrics.rows import Row
from .against import difference, table
from .embedders.embedder import Embedder, Foreign, load_embedder
from .evaluated import EvaluatedRun, Samples, known_fields, real_samples, train_embedder, training_samples
from .following import companions, followed
from .prediction import prediction
from .protocol import Protocol, digest
from .report.findings import gaps, grouped, sensitivity
from .retrieval import Pairs, retrievals
from .scorer import LEAST, Measured, Scorer

REAL, CODEC, MODEL = "real", "codec", "model"
GROUPS = 50
"""Values that a column may have to be grouped by."""
SHOWN = 6
"""Real samples, and as many generated ones with their labels, in a picture."""


class Evaluator:
    """What stays the same for all samplers of one model: real samples, the embedder, the floor."""

    def __init__(self, evaluated: EvaluatedRun, protocol: Protocol, out: Path, *, embedder: Path | None = None):
        self.evaluated, self.protocol, self.judge, self.out = evaluated, protocol, protocol.judge, out
        if len(evaluated.held_out) < LEAST:
            held_out = f"{len(evaluated.held_out)} samples were held out for validation (loader.val)"
            raise ConfigError(f"{held_out}: an evaluation needs {LEAST}, so hold out more, such as loader.val=0.2")
        self.known = known_fields(evaluated)
        codec = self.codec = copy.deepcopy(evaluated.codec).cpu()
        reference = training_samples(evaluated, self.judge, protocol.references)
        order = torch.randperm(len(reference.x), generator=torch.Generator().manual_seed(0))    # any first n are a draw
        self.reference = reference.picked(order.tolist())
        self.real = real_samples(
            evaluated, self.judge, evaluated.held_out, protocol.n, title="reading held-out samples",
        )
        if 1 < (length := self.real.x.shape[2]) <= protocol.predict:
            print(f"no prediction is judged: evaluation.predict={protocol.predict} of {length} positions leaves none "
                  "to predict")
        known = self.judge.known((evaluated.train.read(i)[0] for i in range(len(evaluated.train))), codec)
        self.embedder = self._embedder(embedder)                      # last: what cannot be judged needs none
        name = "own" if isinstance(self.embedder, Embedder) else Path(self.embedder.facts["file"]).stem
        self.scorer = Scorer(
            self.judge, self.embedder, codec, self.reference.x, known=known, name=name, k=protocol.k,
            draws=protocol.draws,
        )
        self.truth = self.real.truth(self.known)
        self.floor = self.scorer.measure(self.real.x, self.truth, truth=self.real.x)
        self.floor_row = self.scorer.row(self.floor)

    def _embedder(self, path: Path | None) -> Embedder | Foreign:
        path = path or self.out / "embedder.safetensors"
        if path.parent == self.out and (self.evaluated.named or not path.exists()):
            print(f"training an embedder on the training split: {path}")
            return train_embedder(self.evaluated, self.judge, path)
        return load_embedder(path, judge=self.judge, settings=self.judge.settings(self.codec))

    def facts(self, pipeline: Pipeline) -> dict[str, Any]:
        """The protocol with all that was settled."""
        data = {
            name: hashlib.sha256(part.x.numpy().tobytes() + json.dumps(part.labels).encode()).hexdigest()
            for name, part in (("reference", self.reference), ("real", self.real))
        }
        return self.protocol.facts(
            **pipeline.settings, size=pipeline.size, embedder=self.embedder.facts["sha256"], data=data,
            samples=len(self.real.x),
        )

    def report(
        self, pipeline: Pipeline, *, controls: bool = True, against: Mapping[str, Pipeline] | None = None
    ) -> dict[str, Any]:
        """All rows, findings and pictures; without ``controls`` real samples and the model alone, as in a sweep.

        ``against`` are other models, by name, that this one is compared with, with the first seed.
        """
        rows: dict[str, Row] = {REAL: self.floor_row}
        pictures = {}
        sets: dict[str, Measured] = {}
        if controls:
            decoded = self._round_trip(self.real.x)
            rows[CODEC] = self.scorer.row(self.scorer.measure(decoded, self.truth, truth=self.real.x))
        cost = {}
        for seed in self.protocol.seeds:
            name = MODEL if len(self.protocol.seeds) == 1 else f"{MODEL}, seed {seed}"
            generated, cost[name] = self.generated(pipeline, seed)
            sets[name] = self.scorer.measure(generated.x, self.truth)
            rows[name] = self.scorer.row(sets[name])
            if controls:
                pictures[name] = self._picture(generated, name)
        if controls:
            faults = self.judge.faults(self.real.x, torch.Generator().manual_seed(0))
            for name, x in progress_bar(faults.items(), "controls", unit="row", leave=False):
                rows[f"control: {name}"] = self.scorer.row(
                    self.scorer.measure(x, self.truth, truth=self.real.x)
                )
            copies = self.reference.picked(range(min(len(self.real.x), len(self.reference.x))))
            truth = copies.truth(self.known)
            rows["control: training samples"] = self.scorer.row(self.scorer.measure(copies.x, truth))
        facts, first = self.facts(pipeline), next(iter(sets.values()))
        report = {
            "protocol": facts, "protocol_sha256": digest(facts),
            "model": {
                "sha256": pipeline.header["sha256"], "step": pipeline.header.get("step"),
                "lora": pipeline.header.get("lora", []), **consent(pipeline.header), "calls": pipeline.sampler.calls,
                "cost": cost, "bytes": weight_bytes(pipeline.model.network),
            },
            "embedder": self.embedder.facts, "rows": rows,
            "better": {metric: self.scorer.better(metric) for row in rows.values() for metric in row},
            **self._groups(first),
        }
        if against:
            report["against"] = {name: self._against(first, rows, name, other) for name, other in against.items()}
        if controls:
            report |= {
                "seen": sensitivity(rows, REAL), "confusion": self._confusion(first), "pictures": pictures,
            }
            if 0 < self.protocol.predict < self.real.x.shape[2]:
                report["prediction"] = prediction(
                    pipeline, self.judge, self.real.x, self.real.labels, given=self.protocol.predict,
                    members=self.protocol.members, batch_size=self.protocol.batch_size,
                )
            if pipeline.model.controls:
                report["maps"] = followed(
                    pipeline, self.judge, self.judge.parted(self.real.x), self.real.labels,
                    self.judge.parted(generated.x), seed=seed, batch_size=self.protocol.batch_size,
                    beside=companions(self.evaluated, self.judge, pipeline.model.controls, len(self.real.x)),
                )
            if self.protocol.captions:
                report["retrieval"] = self._retrieval(generated.x)
        return report

    def _retrieval(self, generated: Tensor) -> dict[str, dict[str, Row]]:
        """Captions among others; by the embedder where that reads texts too."""
        by = self.embedder
        foreign = None
        if isinstance(by, Foreign) and by.texts is not None:
            foreign = Pairs(lambda x: by.judge(x).features, by.texts, Path(by.facts["file"]).stem)
        return retrievals(self.evaluated, self.protocol, self.real, generated, foreign=foreign)

    def _against(self, current: Measured, rows: Mapping[str, Row], name: str, other: Pipeline) -> dict[str, Any]:
        """What differs from another model that is asked for the same; it is told what it knows of the labels."""
        under = f"against-{other.header['sha256'][:12]}"
        generated, _ = self.generated(other, self.protocol.seeds[0], fields=other.model.fields, under=under)
        measured = self.scorer.measure(generated.x, self.truth)
        row, found = self.scorer.row(measured), difference(self.scorer, current, measured)
        better = {metric: self.scorer.better(metric) for metric in found}
        first = next(key for key in rows if key.startswith(MODEL))
        return {"sha256": other.header["sha256"], "row": row,
                "table": table({MODEL: rows[first], name: row}, found, better)}

    @torch.no_grad()
    def _round_trip(self, x: Tensor) -> Tensor:
        model, samples = self.evaluated.pipeline.model, []
        for part in x.split(self.protocol.batch_size):
            padded, mask = pad(self.judge.parted(part))
            there = Masked(padded.to(model.device), None if mask is None else mask.to(model.device))
            size = {} if self.judge.native_sizes else self.evaluated.size
            back, mask = model.codec.decode_sized(model.codec.encode(there), **size)
            samples += unpad(Masked(back.float().cpu(), None if mask is None else mask.cpu()))
        return self.judge.stacked(samples, self.codec, self.evaluated.size)

    def generated(
        self, pipeline: Pipeline, seed: int, *, fields: Fields | None = None, under: str = "samples",
        told: Mapping[str, Label] = MappingProxyType({}),
    ) -> tuple[Samples, dict[str, float] | None]:
        """Samples with the labels of the real ones, but for what is ``told`` of all, from files ``under`` a folder:
        what was made before is not made again."""
        requests = self._requests(seed, fields, told)
        pipeline.choose_engine(requests, self._batch(requests))              # choosing an engine is no cost of a sample
        folder = self.out / under / digest(pipeline.settings)[:12]
        cost, before = folder / f".cost-{seed}.json", {path: _version(path) for path in folder.glob("*")}
        begun, processor = time.perf_counter(), time.process_time()
        paths = pipeline.save(
            requests, folder, batch_size=self._batch(requests), suffix=self.judge.suffix, replace=True
        )
        fresh = [before.get(path) != _version(path) for path in paths]
        if any(fresh):                                                # what they cost before is not what they cost now
            cost.unlink(missing_ok=True)
        if all(fresh):
            spent = {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - processor}
            write_atomic(cost, json.dumps({name: value / len(paths) for name, value in spent.items()}).encode())
        samples = [self.codec.load(path, **pipeline.size) for path in paths]
        x = self.judge.stacked(samples, self.codec, pipeline.size)
        return self.real._replace(x=x), json.loads(cost.read_text(encoding="utf-8")) if cost.exists() else None

    def drawn(self, pipeline: Pipeline) -> Samples:
        """Samples as ``report`` judges them, of the first seed, kept in memory alone."""
        requests = self._requests(self.protocol.seeds[0])
        generated = dict(pipeline.run(requests, self._batch(requests), show_progress=False))
        samples = [generated[i] for i in range(len(requests))]
        return self.real._replace(x=self.judge.stacked(samples, self.codec, pipeline.size))

    def _requests(
        self, seed: int, fields: Fields | None = None, told: Mapping[str, Label] = MappingProxyType({})
    ) -> list[Request]:
        """The labels of the real samples, of ``fields`` alone where those are told, and their sizes where each has its
        own."""
        sizes: list[dict[str, float]] = [{} for _ in self.real.labels]
        if self.judge.native_sizes:
            sizes = [self.codec.size(sample) for sample in self.judge.parted(self.real.x)]
        known = [{name: value for name, value in {**labels, **told}.items() if fields is None or name in fields}
                 for labels in self.real.labels]
        return [Request(seed=seed + i, labels=labels, size=size)
                for i, (labels, size) in enumerate(zip(known, sizes, strict=True))]

    def _batch(self, requests: Sequence[Request]) -> int:
        """No more than are asked for of one size: batches are of one size, and filled up."""
        most = Counter(str(request.size) for request in requests).most_common(1)[0][1]
        return min(self.protocol.batch_size, most)

    def _picture(self, generated: Samples, name: str) -> str:
        path = self.out / "pictures" / f"{name.replace(', ', '-').replace(' ', '-')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = self.real.picked(spread(len(generated.x), SHOWN)), generated.picked(spread(len(generated.x), SHOWN))
        titles = [
            f"{kind}: {Request(labels=labels).title}"
            for kind, part in zip((REAL, name), rows, strict=True) for labels in part.labels
        ]
        return str(self.codec.preview([s for part in rows for s in self.judge.parted(part.x)], titles, path))

    def _confusion(self, m: Measured) -> dict[str, Any]:
        tables = {}
        for name, classes in self.embedder.classes.items():
            asked = [row.get(name) for row in self.truth]
            if all(value is not None for value in asked):
                true = torch.tensor([list(classes).index(text(value)) for value in asked])
                counts = confusion(m.probabilities[name].argmax(1), true, classes=len(classes))
                tables[name] = {"classes": list(classes), "counts": counts.tolist()}
        return tables

    def _groups(self, m: Measured) -> dict[str, Any]:
        """Rows of the model and of real samples in each group, and where the model falls short."""
        fields = self.known
        names = self.protocol.groups if self.protocol.groups is not None else list(fields)
        rows: dict[str, dict[str, dict[str, Row]]] = {MODEL: {}, REAL: {}}
        for name in names:
            field = fields.get(name) or self._values(name)
            mine, theirs = (grouped(part.columns, name, field) for part in (self.real, self.reference))
            for kind, measured in ((MODEL, m), (REAL, self.floor)):
                rows[kind][name] = {
                    value: self.scorer.row(measured, members, theirs.get(value, torch.tensor([], dtype=torch.long)))
                    for value, members in mine.items()
                }
        return {
            "groups": rows, "gaps": gaps(rows[MODEL], rows[REAL], self.scorer.better) if names else [],
        }

    def _values(self, name: str) -> list[str]:
        """The values of a column that the model is not told."""
        known = list(dict.fromkeys(key for row in self.real.columns for key in row))
        if name not in known:
            raise ConfigError(f"evaluation.groups: the data have no column {name!r}; {suggest(name, known)}")
        values = sorted({text(row[name]) for row in self.real.columns if row.get(name) is not None})
        if len(values) > GROUPS:
            raise ConfigError(f"evaluation.groups: {name} has {len(values)} values, at most {GROUPS} make groups")
        return values


def _version(path: Path) -> tuple[int, int]:
    """What changes when a file is written anew."""
    return (stat := path.stat()).st_ino, stat.st_mtime_ns
