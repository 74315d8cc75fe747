"""A cache of latents: the features of every item of a data set, each made once.

    settings = reader and codec with every default, hash of the codec's weights, dtype
    key      = sha256(settings, digest of the item's files, copy)          and the name of a map, of what lies beside it

Whitening is left out, because it depends on what is held out: training measures it on the features, as it does on
samples. A key that is there is never made again, and an interrupted job loses at most one shard. Several processes
share a job without meeting: each takes every n-th item and leaves a list of what it has, and the last one to finish
writes the index that training reads.
"""

import hashlib
import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor

from ..adapters.base import Codec, Reader
from ..config.adapter import build_codec, resolve_codec, resolve_files
from ..config.build import ConfigError, complete, plain
from ..config.files import resolved
from ..core.rng import Purpose, stream
from ..core.types import Masked
from ..data.batch import unpad
from ..data.dataset import Dataset
from ..data.labels import plain_fields
from ..data.loaders import read_beside
from ..data.progress import progress_bar
from ..store import WHITENING, check_trained, fill
from .latents import DTYPES, FORMAT, INDEX
from .originals import opened
from .shards import Location, Shards
from .texts import keep_texts

SAMPLE = ""
"""The sample itself, among the names of maps that something lies beside it for."""


class JobPart(NamedTuple):
    """The part of one process: every ``parts``-th item from ``part`` on."""

    part: int = 0
    parts: int = 1


class Encoded(NamedTuple):
    """What became of a share: its items, the features made for them now, the items left out with reasons, by map those
    that are kept without it with reasons, how many processes of the job have yet to finish before the cache can be
    used, and how many captions are kept."""

    items: int
    encoded: int
    skipped: list[list[str]]
    without: dict[str, list[list[str]]]
    waiting: int
    captions: int


def settings(adapter: DictConfig, codec: Codec, reader: Reader, *, dtype: str) -> dict[str, Any]:
    """All that features depend on besides the item; ``codec`` and ``reader`` are those that ``adapter`` describes."""
    nodes = {"reader": complete(adapter["reader"]), "codec": complete(adapter["codec"])}
    for node, incidental in zip(nodes.values(), (reader.incidental, codec.incidental), strict=True):
        for name in incidental:
            node.pop(name, None)
    digest = hashlib.sha256(codec.identity.encode())
    for name, value in sorted([*codec.named_parameters(), *codec.named_buffers()]):
        if name.split(".")[0] not in (*codec.incidental, *WHITENING):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    identity = {**nodes, "reading": codec.reading, "weights": digest.hexdigest(), "dtype": dtype}
    return json.loads(json.dumps(identity))


def require(cached: dict[str, Any], adapter: DictConfig, codec: Codec, reader: Reader) -> None:
    """Raise ``ConfigError`` naming what differs where latents were made with other settings than ``adapter``'s."""
    wanted = settings(adapter, codec, reader, dtype=cached["dtype"])
    if changed := list(_changes(cached, wanted, "adapter")):
        raise ConfigError(
            f"these latents were encoded with other settings: {'; '.join(changed)}. Name the same adapter, or run "
            "mmdiff encode with this one"
        )


def encode(
    config: DictConfig, out: str, *, dtype: str = "float32", copies: int = 1, part: JobPart | None = None,
    shard_mb: float = 64, device: str = "cpu", progress: bool = True,
) -> Encoded:
    """Write the features of ``config.data`` as read by ``config.adapter`` to the folder or URL ``out``.

    ``copies`` of each item are made: the first with fixed choices, as in validation, the others with random crops and
    augmentation. ``shard_mb`` is the size of a file in MiB. Raises ``ConfigError`` for a mistake of the user, and
    ``ValueError`` where nothing can be read.
    """
    part = part or JobPart()
    if dtype not in DTYPES:
        raise ConfigError(f"dtype is one of {', '.join(DTYPES)}, got {dtype!r}")
    if copies < 1 or shard_mb <= 0:
        raise ConfigError(f"need copies >= 1 and shard_mb > 0, got {copies} and {shard_mb}")
    codec, reader = build_codec(config.adapter)
    origin = _placed(plain(config.data))
    dataset = opened(origin, reader)
    codec, reader = resolve_codec(config.adapter, codec, reader, dataset.inferred)
    check_trained(codec, config)
    fill(codec, config)
    identity, shards = settings(config.adapter, codec, reader, dtype=dtype), Shards(out, limit=int(shard_mb * 2**20))
    job = hashed([identity, copies, part.parts, [dataset.name(i) for i in range(len(dataset))]])[:16]
    lists = [f"{job}-{k + 1}-of-{part.parts}.json" for k in range(part.parts)]
    shards.remove(lists[part.part])                                   # an earlier job's may be out of date
    work = _Work(dataset, codec.to(device), identity, shards, copies)
    members = range(part.part, len(dataset), part.parts)
    for i in progress_bar(members, "encoding", unit="item", disable=not progress):
        try:
            work(i)
        except KeyboardInterrupt:
            shards.flush()
            raise
    shards.flush()
    captions = keep_texts(resolve_files(resolved(config)).adapter, dataset, members, device, progress=progress)
    shards.write(lists[part.part], json.dumps(work.done()).encode())
    waiting = _finish(dataset, origin, identity, shards, lists)
    skipped = [[dataset.name(i), reason] for i, reason in work.skipped.items()]
    without = {name: [[dataset.name(i), reason] for i, reason in found.items()] for name, found in work.without.items()}
    return Encoded(len(members), work.encoded, skipped, without, waiting, captions)


def _placed(origin: dict[str, Any]) -> dict[str, Any]:
    """A node of data with its folders on this disk named from their top, as a cache is read from anywhere."""
    maps = {name: _absolute(folder) for name, folder in (origin.get("maps") or {}).items()}
    placed = {name: _absolute(origin[name]) for name in ("root",) if name in origin}
    return {**origin, **placed, **({"maps": maps} if maps else {})}


def _absolute(folder: Any) -> Any:
    if not isinstance(folder, str) or not folder or "://" in folder:
        return folder
    return str(Path(folder).expanduser().absolute())


class _Work:
    """Makes what is missing of one item after another."""

    def __init__(self, dataset: Dataset, codec: Codec, identity: dict[str, Any], shards: Shards, copies: int):
        self.dataset, self.codec, self.identity, self.shards, self.copies = dataset, codec, identity, shards, copies
        self.dtype = DTYPES[identity["dtype"]]
        self.keys: dict[int, dict[str, list[str]]] = {}
        self.digests: dict[int, str] = {}
        self.skipped: dict[int, str] = {}
        self.without: dict[str, dict[int, str]] = {}                  # by map: items that are told none, and why
        self.encoded = 0

    def __call__(self, index: int) -> None:
        try:
            digest = self.dataset.digest(index)
            keys: dict[str, list[str]] = {name: [] for name in (SAMPLE, *self.dataset.mapped(index))}
            new: dict[str, tuple[Tensor, dict[str, float]]] = {}
            for copy in range(self.copies):
                self._encode(index, digest, copy, keys, new)
        except (ValueError, OSError) as error:
            self.skipped[index] = str(error)
            return
        used = {key for several in keys.values() for key in several} & set(new)
        for key in sorted(used, key=list(new).index):                 # where these cannot be written the job ends
            self.shards.add(key, *new[key])
        self.encoded += len(used)
        self.keys[index], self.digests[index] = keys, digest

    def done(self) -> dict[str, dict]:
        """What the process leaves of its share."""
        return {"keys": self.keys, "digests": self.digests, "skipped": self.skipped, "without": self.without}

    def _encode(
        self, index: int, digest: str, copy: int, keys: dict[str, list[str]],
        new: dict[str, tuple[Tensor, dict[str, float]]],
    ) -> None:
        """Add the key of a copy, of the sample and of what lies beside it for maps, and what is new of these. A map
        whose file cannot be read is left out of ``keys``."""
        found = {name: hashed([self.identity, digest, copy, *([name] if name else [])]) for name in keys}
        for name, key in found.items():
            keys[name].append(key)
        missing = [name for name, key in found.items() if key not in self.shards]
        if not missing:
            return
        chance = stream(copy, int(hashed(digest)[:16], 16), Purpose.AUGMENT) if copy else None
        state = deepcopy(chance)
        sample, _ = self.dataset.read(index, chance)
        for name in missing:
            try:
                x = sample if name == SAMPLE else read_beside(self.dataset, index, sample, state, [name])[name]
                assert x is not None                                  # ``mapped`` says what has a file
                new[found[name]] = self._features(x)
            except (ValueError, OSError) as error:
                if name == SAMPLE:
                    raise
                del keys[name]
                self.without.setdefault(name, {})[index] = str(error)

    @torch.no_grad()
    def _features(self, sample: Tensor) -> tuple[Tensor, dict[str, float]]:
        (features,) = unpad(self.codec.features(Masked(sample[None].to(next(self.codec.buffers()).device))))
        features = features.to(self.dtype).cpu()
        if not torch.isfinite(features).all():
            raise ValueError(f"its features are not finite in {self.identity['dtype']}")
        return features, self.codec.size(sample)


def _finish(
    dataset: Dataset, origin: dict[str, Any], identity: dict[str, Any], shards: Shards, lists: list[str]
) -> int:
    """Write the index if all processes of a job have left their lists; else how many have not."""
    there = set(shards.folder.names(".json"))
    if waiting := len(set(lists) - there):
        return waiting
    try:
        parts = [json.loads(shards.folder.read(name)) for name in lists]
    except OSError:                                                   # another process was last too, and has done it
        return 0
    keys, digests = (
        {int(i): value for part in parts for i, value in part[name].items()} for name in ("keys", "digests")
    )
    if not keys:
        raise ValueError(f"none of {len(dataset)} items can be read: {next(iter(parts[0]['skipped'].values()), '')}")
    skipped = sorted((int(i), reason) for part in parts for i, reason in part["skipped"].items())
    shards.refresh()
    kept = sorted(keys)
    without = _without(dataset, parts, keys)
    names = sorted({shards.locations[key].shard for i in kept for copies in keys[i].values() for key in copies})
    number = {name: n for n, name in enumerate(names)}
    report = dataset.report()
    index = {
        "format": FORMAT, "settings": identity, "fields": plain_fields(dataset.fields_of(kept)),
        "data": origin,
        "source": {**{name: value for name, value in report.items() if name not in ("kept", "skipped")}, **without},
        "skipped": [*report["skipped"], *([dataset.name(i), reason] for i, reason in skipped)],
        "shards": names, "items": [
            {**_item(dataset, i, {name: [shards.locations[key] for key in copies] for name, copies in keys[i].items()},
                     number), "digest": digests[i]} for i in kept
        ],
    }
    shards.write(INDEX, json.dumps(index).encode())
    for name in lists:
        shards.remove(name)
    return 0


def _without(dataset: Dataset, parts: list[dict[str, Any]], keys: dict[int, dict[str, list[str]]]) -> dict[str, Any]:
    """The line of a report that says which items are told no map, and why. Raises ``ValueError`` where none is."""
    told = {name: [list(pair) for pair in pairs] for name, pairs in dataset.report().get("without_maps", {}).items()}
    for name in dataset.maps:
        unread = [found for part in parts for found in part.get("without", {}).get(name, {}).items()]
        told.setdefault(name, []).extend([dataset.name(int(i)), reason] for i, reason in unread)
        if not any(name in found for found in keys.values()):
            raise ValueError(f"no item has its file of the map {name}; {': '.join(told[name][0])}")
    return {"without_maps": told} if any(told.values()) else {}


def _item(
    dataset: Dataset, index: int, locations: dict[str, list[Location]], number: dict[str, int]
) -> dict[str, Any]:
    places = {name: [p.place(number) for p in copies] for name, copies in locations.items()}
    return {
        "name": dataset.name(index), "column": dataset.column(index), "shape": dataset.shape(index),
        **({"captions": captions} if (captions := dict(dataset.captions(index))) else {}),
        "size": locations[SAMPLE][0].size, "places": places.pop(SAMPLE), **({"maps": places} if places else {}),
    }


def hashed(value: Any) -> str:
    """The hash that a key is."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _changes(cached: Any, wanted: Any, name: str) -> Iterator[str]:
    if isinstance(cached, dict) and isinstance(wanted, dict):
        for key in dict.fromkeys([*cached, *wanted]):
            yield from _changes(cached.get(key), wanted.get(key), f"{name}.{key}")
    elif cached != wanted:
        yield f"{name} was {cached}, is {wanted}"
