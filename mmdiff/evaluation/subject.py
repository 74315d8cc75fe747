"""Whether a personal model makes its subject where it is asked for it, and leaves alone what it could before.

    near    share of samples whose nearest neighbour is one of the subject's files, among these and, for each other
            class of its field, as many training samples of the base           in the features of the judge
    apart   median distance to the nearest of the files, by that of each file to the nearest other file

    files       of the subject, each against the other ones       asked for      samples that are asked for the subject
    not asked   samples of the labels that the base knows         base           what the base makes of those
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..config.build import ConfigError
from ..config.files import CONFIG_FILE
from ..config.record import read_record
from ..data.joined import subject_of
from ..data.labels import is_text
from ..generation.pipeline import Pipeline
from ..metrics.bootstrap import Interval, bootstrap, median
from ..metrics.classify import proportion
from ..metrics.rows import Row
from .bench import Evaluator
from .evaluated import real_samples
from .real import base_record, subject_files

FILES, ASKED, NOT_ASKED, BASE = "files", "asked for", "not asked", "base"
KINDS = 10
"""Other subjects that texts are taken to tell of."""


def base_of(run: str | Path, base: str | None = None) -> Path | None:
    """The run that a personal run began with, at ``base`` now if it has moved; None of other runs, and where it is not
    there."""
    run = Path(run).expanduser()
    record = read_record(run) if (run / CONFIG_FILE).is_file() else None
    began = None if record is None or record.config.get("subject") is None else base_record(record, base)
    return None if began is None else began.run


def subject(run: str | Path, bench: Evaluator, pipeline: Pipeline, base: Pipeline | None) -> dict[str, Row]:
    """Rows of the subject of a personal run; none of other runs."""
    run = Path(run).expanduser()
    record = read_record(run) if (run / CONFIG_FILE).is_file() else None
    if record is None or record.config.get("subject") is None:
        return {}
    try:
        data, known = subject_files(record, pipeline.model.reader), pipeline.model.fields
    except (ConfigError, ValueError) as error:                        # the rest of the report is made, and is not lost
        print(f"{record.config.subject} is not judged by its own files: {error}")
        return {}
    if len(data) < 2:
        print(f"{record.config.subject} is not judged by itself: one file has no other to be compared with")
        return {}
    field, name, _ = subject_of(record.config.subject, data.fields, known)
    files = real_samples(bench.evaluated, bench.judge, data, len(data), title="reading the subject's files").x
    others = bench.reference.x[: len(files) * (KINDS if is_text(known[field]) else max(1, len(known[field]) - 1))]
    seed = bench.protocol.seeds[0]
    made = {ASKED: bench.generated(pipeline, seed, under="subject", told={field: name})[0].x,
            NOT_ASKED: bench.generated(pipeline, seed, fields=None if base is None else base.model.fields)[0].x}
    if base is not None:
        made[BASE] = bench.generated(base, seed, fields=base.model.fields, under="base")[0].x
    return nearness(lambda x: bench.embedder.judge(x).features, files, others, made)


def nearness(
    features: Callable[[Tensor], Tensor], files: Tensor, others: Tensor, made: Mapping[str, Tensor]
) -> dict[str, Row]:
    """Rows of samples ``made`` ``(N, C, *S)``, by name, beside the ``files`` of a subject and ``others``."""
    own, rest = features(files), features(others)
    between = torch.cdist(own, own).fill_diagonal_(torch.inf)
    alone = between.amin(1)
    found = {FILES: _row(alone, torch.cdist(own, rest).amin(1), alone)}
    for name, x in made.items():
        seen = features(x)
        found[name] = _row(torch.cdist(seen, own).amin(1), torch.cdist(seen, rest).amin(1), alone)
    return found


def _row(own: Tensor, rest: Tensor, alone: Tensor) -> Row:
    """Distances ``(N,)`` to the nearest file and to the nearest other sample."""
    return {"n": len(own), "near": proportion(own < rest),
            "apart": bootstrap(own / median(alone), median, resamples=500)}


def described(rows: Mapping[str, Row]) -> str:
    """What rows say, in a line."""
    shares = {row: value.value for row, found in rows.items() if isinstance(value := found["near"], Interval)}
    base = f", of the base's {shares[BASE]:.0%}" if BASE in shares else ""
    return (f"Of samples that are asked for the subject {shares[ASKED]:.0%} are nearest to a file of it, of others "
            f"{shares[NOT_ASKED]:.0%}{base}, of the files {shares[FILES]:.0%} to another one.")
