"""What a model makes of the labels that it knows, as a cache of latents: made once, for all runs that start from it.

    key = sha256(hash of the model, labels, shape, number, how)
    samples      at guidance scale 1, by the model's own sampler

The folder is that of the model's hash, below the folder of all caches. A key that is there is never made again.
"""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..adapters.base import Codec
from ..config.build import build
from ..core.rng import Purpose, stream
from ..core.samplers import Sampler
from ..core.types import Masked
from ..data.cached import cache_folder, one_at_a_time, shared
from ..data.captions import Tags, worded
from ..data.dataset import Dataset
from ..data.labels import Fields, Label, conditioning, is_scalar, is_text, plain_fields
from ..data.progress import progress_bar
from ..data.stream import Shape
from ..model import DiffusionModel
from ..store import chosen_device
from .encode import hashed, settings
from .latents import FORMAT, INDEX, Latents
from .shards import Shards

BATCH = 16
"""Latents that are made at once."""
SHARD = 64 * 2**20
"""Bytes of a file, at most."""
PARTS = "parts.lock"
"""The file whose bytes are locked by those who make a batch."""


Make = Callable[[DiffusionModel, list[int], tuple[int, ...]], Tensor]
"""``(model, numbers of B samples, latent shape *S) -> (B, C, *S)``."""


class SampleSpec(NamedTuple):
    """What one sample is made of: labels, the size in the codec's words, and where it goes in batches of one shape."""

    labels: dict[str, Label]
    size: dict[str, float]
    shape: tuple[int, ...] | None


def labels_within(fields: Fields, like: Dataset, n: int) -> list[dict[str, Label]]:
    """``n`` labels within ``fields``: each class equally often, scalars over all of their range, each drawn by itself;
    texts as they are told in ``like``, one sample after the other."""
    found: list[dict[str, Label]] = []
    for i in range(n):
        labels: dict[str, Label] = {}
        for k, (name, field) in enumerate(fields.items()):
            if is_text(field):
                captions = like.captions(i % len(like)).get(name)
                labels[name] = captions[i // len(like) % len(captions)] if captions else None
            elif is_scalar(field):
                low, high = map(float, field)
                labels[name] = low + (high - low) * float(stream(0, i, Purpose.DATA, k).random())
            else:
                order = stream(0, i // len(field), Purpose.ORDER, k).permutation(len(field))
                labels[name] = field[int(order[i % len(field)])]
        found.append(labels)
    return found


def labels_of(
    fields: Fields, like: Dataset, numbers: Sequence[int], *, seed: int = 0, tags: Tags | None = None
) -> list[dict[str, Label]]:
    """What is told of the samples of ``like`` of these numbers, all of one together, captions worded as for training.
    What none of them tells is drawn within ``fields``."""
    found = []
    by_column = bool(fields.keys() & like.column(0).keys()) or all(label is None for label in like.read(0)[1].values())
    for i, number in enumerate(numbers):
        labels = conditioning(like.column(number) if by_column else like.read(number)[1], fields)
        found.append(worded(labels, like.captions(number), tags, stream(seed, i, Purpose.WORDS)))
    untold = {name: field for name, field in fields.items() if all(labels[name] is None for labels in found)}
    return [{**labels, **drawn} for labels, drawn in zip(found, labels_within(untold, like, len(found)), strict=True)]


def sample_specs(
    labels: Sequence[dict[str, Label]], like: Dataset, numbers: Sequence[int], codec: Codec, size: Mapping[str, float]
) -> list[SampleSpec]:
    """Samples of these ``labels``, of the sizes of those samples of ``like`` (``size`` where these do not tell)."""
    found: list[SampleSpec] = []
    buckets: dict[Shape, dict[str, float]] = {}
    for told, number in zip(labels, numbers, strict=True):
        own_size, shape = like.size(number), like.shape(number)
        if own_size is None and shape is not None:
            if shape not in buckets:
                buckets[shape] = codec.size(like.read(number)[0])
            own_size = buckets[shape]
        found.append(SampleSpec(told, dict(own_size or size), shape))
    return found


def generated(model: DiffusionModel, header: Mapping[str, Any], asked: Sequence[SampleSpec]) -> Latents:
    """The latents that the model of a file with this ``header`` makes of what is ``asked``, as a data set.

    Raises ``OSError`` where the cache cannot be written.
    """
    sampler = build(header["config"]["sampler"], Sampler)

    def make(worker: DiffusionModel, batch: list[int], shape: tuple[int, ...]) -> Tensor:
        latents = worker.latents([asked[i].labels for i in batch], batch, shape, sampler=sampler)
        return worker.codec.unwhiten(Masked(latents)).x

    root = cache_folder() / "made" / header["sha256"][:32]
    return kept(model, header, asked, make, root=root, how=header["config"]["sampler"], title="the base's samples")


def kept(
    model: DiffusionModel, header: Mapping[str, Any], asked: Sequence[SampleSpec], make: Make, *, root: Path, how: Any,
    title: str, fields: Fields | None = None, batch_size: int = BATCH,
) -> Latents:
    """What ``make`` makes of what is ``asked``, each made once for this ``header`` and ``how``; ``fields`` are
    those of the samples, by default the model's. What was made before an interruption stays. Processes that ask for the
    same share the work, a batch at a time: the same batches, so the same bytes, however many there are.

    Raises ``OSError`` where the cache cannot be written.
    """
    fields, digest = model.conditioner.fields if fields is None else fields, header["sha256"]
    shapes = [model.codec.latent_shape(**spec.size) for spec in asked]
    keys = [hashed([digest, spec.labels, shape, i, how])
            for i, (spec, shape) in enumerate(zip(asked, shapes, strict=True))]
    root.mkdir(parents=True, exist_ok=True)                           # where that fails nothing is made for nothing
    shards, batches = Shards(str(root), limit=SHARD), list(_batches(range(len(keys)), shapes, batch_size))

    def left() -> list[int]:
        shards.refresh()
        return [number for number, batch in enumerate(batches) if any(keys[i] not in shards for i in batch)]

    missing = len(left())
    worker = copy.deepcopy(model).to(chosen_device(None)) if missing else model
    for number in progress_bar(shared(root / PARTS, left), title, missing, leave=False, disable=not missing):
        batch = [i for i in batches[number] if keys[i] not in shards]
        for i, features in zip(batch, make(worker, batch, shapes[batch[0]]).float().cpu(), strict=True):
            shards.add(keys[i], features.clone(), asked[i].size)
        shards.flush()
    with one_at_a_time(root / INDEX):                                 # it is that of what this process asked for
        locations = [shards.locations[key] for key in keys]
        names = sorted({location.shard for location in locations})
        numbers = {name: number for number, name in enumerate(names)}
        identity = settings(header["config"]["adapter"], model.codec, model.reader, dtype="float32")
        index = {
            "format": FORMAT, "settings": identity, "fields": plain_fields(fields), "data": {},
            "source": {"model": digest}, "skipped": [], "shards": names, "items": [
                {"name": f"{digest[:8]}/{i}", "column": spec.labels, "shape": spec.shape, "size": spec.size,
                 "places": [location.place(numbers)], "digest": key,
                 **({"captions": said} if (said := _texts(spec, fields)) else {})}
                for i, (spec, location, key) in enumerate(zip(asked, locations, keys, strict=True))
            ],
        }
        shards.write(INDEX, json.dumps(index).encode())
        return Latents(None, str(root))


def _texts(spec: SampleSpec, fields: Fields) -> dict[str, list[str]]:
    return {name: [str(value)] for name, value in spec.labels.items() if is_text(fields[name]) and value}


def _batches(indices: Sequence[int], shapes: Sequence[tuple[int, ...]], size: int) -> Iterator[list[int]]:
    """Of one shape each, in order."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i in indices:
        groups.setdefault(tuple(shapes[i]), []).append(i)
    for members in groups.values():
        yield from (members[k : k + size] for k in range(0, len(members), size))
