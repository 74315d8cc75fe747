"""A protocol: everything that two numbers must share to be compared, as one record with a hash."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..adapters.judge import Judge


class Protocol:
    """How a model is judged.

    n           samples of each set, at most the held-out ones
    references  training samples that sets are compared with, at most
    seeds       first seed of each repetition; sample i of it has the seed seed + i
    predict     leading positions (frames) that are given when the rest is predicted; 0 = no prediction
    members     predictions of each sample, by other noise
    captions    steps of the network that finds captions among others; 0 = they are not looked for
    """

    def __init__(
        self, name: str, judge: Judge, *, n: int = 200, references: int = 1000, seeds: Sequence[int] = (0,),
        batch_size: int = 50, k: int = 5, draws: int = 50, predict: int = 0, members: int = 4,
        captions: int = 400, embedder: str | None = None, groups: Sequence[str] | None = None,
    ):
        if n < 8 or references < 8 or not seeds:
            raise ValueError(f"need n >= 8, references >= 8 and a seed, got {n}, {references} and {list(seeds)}")
        if batch_size < 1 or k < 1 or draws < 2 or predict < 0 or members < 1 or captions < 0:
            raise ValueError(
                "need batch_size >= 1, k >= 1, draws >= 2, predict >= 0, members >= 1 and captions >= 0, got "
                f"{batch_size}, {k}, {draws}, {predict}, {members} and {captions}"
            )
        self.name, self.judge, self.n, self.references, self.seeds = name, judge, n, references, list(seeds)
        self.batch_size, self.k, self.draws, self.predict, self.members = batch_size, k, draws, predict, members
        self.captions = captions
        self.embedder, self.groups = embedder, None if groups is None else list(groups)

    def facts(self, **resolved: Any) -> dict[str, Any]:
        """All of it as JSON, with what a run settled: sampler, guidance, size, embedder, samples."""
        defaults = {
            name: getattr(self, name)
            for name in ("name", "n", "references", "seeds", "batch_size", "k", "draws", "predict", "members",
                         "captions")
        }
        details = {name: value for name, value in vars(self.judge).items() if not name.startswith("_")}
        return json.loads(json.dumps({**defaults, "judge": {"name": self.judge.name, **details}, **resolved}))


def digest(facts: Mapping[str, Any]) -> str:
    """SHA-256 of a protocol's facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """What differs between two records, as ``key: one, other``."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        names = dict.fromkeys([*a, *b])
        return [d for n in names for d in differences(a.get(n), b.get(n), f"{where}.{n}" if where else str(n))]
    return [] if a == b else [f"{where}: {a}, {b}"]
