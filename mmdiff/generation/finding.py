"""Looking for marks in a file, whoever made it: how likely is it that it only looks so?"""

import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..adapters.base import Amount
from ..config.kinds import check
from ..marks.base import Candidate, Found, Mark
from .pipeline import Pipeline


def find(
    path: str | Path, pipeline: Pipeline, marks: Sequence[Mark], rows: Sequence[Mapping[str, Any]], *,
    shifts: int = 0,
) -> dict[str, Found]:
    """What each mark finds in a file, by its name: that of ``rows`` which is likeliest.

    A row is of a sample that may have been made: its ``seed``, and its ``size`` and the hash of its ``model`` where
    they are known; without a size it is looked for with the model's own, and with that of the file. ``shifts``
    positions of the latent's first axis are tried beyond those at which one lies within the other.
    Raises ``ValueError`` for a file that cannot be read, and where no row is of this model.
    """
    codec, sha256 = pipeline.model.codec, pipeline.header["sha256"]
    if not (rows := [row for row in rows if row.get("model") in (None, sha256)]):
        raise ValueError(f"the ledger names no sample of this model, {sha256[:12]}")
    parts: dict[tuple[int, ...], tuple[dict[str, float], list[Candidate]]] = {}
    for row in rows:
        size = _size(row, pipeline)
        shape = codec.latent_shape(**size)
        parts.setdefault(shape[1:], (size, []))[1].append(Candidate(row["seed"], shape))
    found: dict[str, Found] = {}
    for size, wanted in parts.values():                               # a film is read at the size that it was made at
        sample = codec.load(Path(path), **size)
        shape = codec.latent_shape(**{**size, **codec.size(sample)})
        others = [Candidate(row["seed"], shape) for row in rows if not row.get("size")]
        candidates = list(dict.fromkeys([*wanted, *others]))
        for mark in marks:
            (new,) = mark.score([sample], pipeline.model.source, [candidates], shifts=shifts)
            found[mark.name] = joined(found[mark.name], new) if mark.name in found else new
    return found


def _size(row: Mapping[str, Any], pipeline: Pipeline) -> dict[str, float]:
    """The size of a row, which may come from anybody. Raises ``ValueError`` for one that no sample has."""
    if not (size := row.get("size")):
        return pipeline.size
    check(size, dict[str, Amount], key=f"size of seed {row['seed']} in the ledger")
    if foreign := set(size) - set(inspect.signature(pipeline.model.codec.latent_shape).parameters):
        raise ValueError(f"the ledger has a sample with {foreign.pop()}=; the size of this model's is {pipeline.size}")
    return dict(size)


def joined(one: Found, other: Found) -> Found:
    """The likelier of two, with the comparisons of both."""
    best, tests = min(one, other, key=lambda f: f.log_rate - math.log(f.tests)), one.tests + other.tests
    return best._replace(log_rate=best.log_rate + math.log(tests / best.tests), tests=tests)


def described(name: str, found: Found) -> str:
    """What was found, in a line: never a bare yes."""
    rate = f"{found.rate:.1e}" if found.rate >= 1e-300 else "below 1e-300"
    facts = ", ".join(f"{word} {value}" for word, value in found.facts.items())
    return f"{name}: z {found.z:.1f}, false-positive rate {rate} over {found.tests} comparisons; nearest is {facts}"
