"""What an evaluation is of: a model, data that it was and was not trained on, and an embedder trained on them.

How the model is judged is in ``mmdiff.evaluation.bench``.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from .. import __version__
from ..adapters.base import Codec
from ..adapters.judge import Judge
from ..data.cached import cache_folder, keep, one_at_a_time
from ..data.dataset import Dataset, spread
from ..data.labels import Fields, Label, conditioning, encode_labels, is_text
from ..data.progress import progress_bar
from ..generation.pipeline import Pipeline
from ..model import DiffusionModel
from ..store import load_learner
from .embedders.embedder import Embedder, load_embedder
from .embedders.fitting import fit, scored
from .real import DataSource, data_of

ENOUGH = 1000
"""Training files from which one sample each is taken; of fewer, as many as follow one another in each."""
FITTED, FITTED_BYTES = 16384, 2**31
"""Training samples that an embedder is trained on, at most, and what they may take in memory, about."""


class Evaluated(Protocol):
    """Real samples, and what a model makes of such."""

    @property
    def codec(self) -> Codec:
        """The modality."""

    @property
    def size(self) -> Mapping[str, float]:
        """Of a usual sample."""

    @property
    def told(self) -> Fields:
        """What the model is told of a sample."""

    @property
    def train(self) -> Dataset:
        """What it learned from, or others in their place."""

    @property
    def held_out(self) -> Dataset:
        """What was held out of them."""


class EvaluatedRun(NamedTuple):
    """A model that generates, the data it was trained on, or others in their place, and those that were held out."""

    pipeline: Pipeline
    train: Dataset
    held_out: Dataset
    named: bool = False
    """Whether they are no run's, so that the next judgement of the same model may be by others."""

    @property
    def codec(self) -> Codec:
        return self.pipeline.model.codec.modality

    @property
    def size(self) -> Mapping[str, float]:
        return self.pipeline.size

    @property
    def told(self) -> Fields:
        return self.pipeline.model.conditioner.fields


class EvaluatedCodec(NamedTuple):
    """A codec, and data as of a model; it is told nothing."""

    codec: Codec
    size: Mapping[str, float]
    train: Dataset
    held_out: Dataset

    @property
    def told(self) -> Fields:
        return {}


class Samples(NamedTuple):
    """``x`` ``(N, C, *S)``, the labels of each, and the values of all columns of the data, no label though they be."""

    x: Tensor
    labels: list[dict[str, Label]]
    columns: list[dict[str, Label]]

    def picked(self, rows: Sequence[int]) -> "Samples":
        """Some of them."""
        return Samples(self.x[list(rows)], *([part[i] for i in rows] for part in (self.labels, self.columns)))

    def truth(self, fields: Fields) -> list[dict[str, Label]]:
        """What is known of each, of ``fields``."""
        return [conditioning(columns, fields) for columns in self.columns]


def open_run(run: str | Path, pipeline: Pipeline, source: DataSource | None = None) -> EvaluatedRun:
    """A model beside the data of its run directory, or beside those that ``source`` names for a model file."""
    source = source or DataSource()
    parts = data_of(run, pipeline.model, pipeline.header["config"], source)
    return EvaluatedRun(pipeline, *parts, named=source.data is not None)


def open_learner(run: str | Path, source: DataSource | None = None) -> Evaluated:
    """What a run directory or model file holds, be it a model or a codec, beside data as of ``open_run``."""
    model, header = load_learner(run)
    if isinstance(model, DiffusionModel):
        return open_run(run, Pipeline(model, header), source)
    train, held_out = data_of(run, model, header["config"], source or DataSource())
    return EvaluatedCodec(model.codec.modality, header["config"]["size"], train, held_out)


def numbers(fields: Fields, samples: Samples) -> dict[str, Tensor]:
    """What is known of samples, of ``fields`` that are no texts, as tensors ``(N,)``."""
    encoded = encode_labels(fields, samples.truth(fields))
    return {name: column for name, column in encoded.items() if isinstance(column, Tensor)}


def known_fields(evaluated: Evaluated) -> Fields:
    """What samples are judged by: what the model is told, but for texts, and what the data know of them besides."""
    fields = {**evaluated.train.known(), **evaluated.told}
    return {name: field for name, field in fields.items() if not is_text(field)}


def real_samples(evaluated: Evaluated, judge: Judge, dataset: Dataset, n: int, *, title: str) -> Samples:
    """``n`` samples, or all, evenly over a data set, of one size."""
    chosen = spread(len(dataset), n)
    read = (dataset.read(i) for i in progress_bar(chosen, title, unit="sample", leave=False))
    samples, labels = zip(*read, strict=True)
    columns = [{**dataset.column(i), **label} for i, label in zip(chosen, labels, strict=True)]
    x = judge.stacked(list(samples), evaluated.codec, evaluated.size)
    return Samples(x, list(labels), columns)


def training_samples(evaluated: Evaluated, judge: Judge, n: int) -> Samples:
    """``n`` of the samples that a run learned from, or all, of one size."""
    train = evaluated.train
    if len(train) < min(n, ENOUGH):                                   # one film may be all there is
        train = train.laid_out(range(len(train)))
    return real_samples(evaluated, judge, train, n, title="reading training samples")


def train_embedder(evaluated: Evaluated, judge: Judge, path: Path, *, steps: int = 1000, seed: int = 0) -> Embedder:
    """An embedder of the run's training split at ``path``, with its accuracy on held-out samples.

    One of the same samples, labels and settings is trained once, and then taken from the cache of this machine.
    """
    settings, fields = judge.settings(evaluated.codec), known_fields(evaluated)
    count = min(FITTED, max(1, FITTED_BYTES // (4 * evaluated.train.read(0)[0].numel())))
    train = training_samples(evaluated, judge, count)
    held_out = real_samples(evaluated, judge, evaluated.held_out, 1000, title="reading held-out samples")
    identity = {"judge": [judge.name, vars(judge)], "settings": settings, "steps": steps, "seed": seed}
    key = _key(train, held_out, identity)
    cached = cache_folder() / "embedders" / f"{key}.safetensors"
    with one_at_a_time(cached):
        if (model := _cached(cached, judge, settings)) is None:
            model = fit(
                train.x, numbers(fields, train), judge=judge, fields=fields, settings=settings, steps=steps, seed=seed,
            )
            scores = scored(model, held_out.x, numbers(fields, held_out))
            model.facts |= {"seed": seed, "held out": scores, "n": len(train.x)}
        model.save(path, model.facts)
        keep(cached, lambda file: file.write(path.read_bytes()))
    return model


def _key(train: Samples, held_out: Samples, identity: dict[str, Any]) -> str:
    """A hash of all that decides what an embedder is: samples, what is known of them, what is asked, the version."""
    sha = hashlib.sha256(json.dumps([__version__, identity], sort_keys=True, default=repr).encode())
    for part in (train, held_out):
        sha.update(part.x.numpy().tobytes() + json.dumps([part.labels, part.columns], default=repr).encode())
    return sha.hexdigest()


def _cached(path: Path, judge: Judge, settings: dict[str, int]) -> Embedder | None:
    """What was kept; None where nothing was, or what was is damaged."""
    try:
        found = load_embedder(path, judge=judge, settings=settings)
    except ValueError:
        return None
    return found if isinstance(found, Embedder) else None
