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
from ..data.cached import cache_folder, one_at_a_time
from ..data.dataset import Dataset
from ..data.labels import Fields, Label, is_scalar, is_text, plain_fields
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


Make = Callable[[DiffusionModel, list[int], tuple[int, ...]], Tensor]
"""``(model, numbers of B samples, latent shape *S) -> (B, C, *S)``."""


class SampleSpec(NamedTuple):
    """What one sample is made of: labels, the size in the codec's words, and where it goes in batches of one shape."""

    labels: dict[str, Label]
    size: dict[str, float]
    shape: tuple[int, ...] | None


def sample_specs(
    fields: Fields, like: Dataset, codec: Codec, size: Mapping[str, float], n: int, *, seed: int = 0
) -> list[SampleSpec]:
    """``n`` samples within ``fields``, of the sizes of the samples of ``like`` (``size`` where those do not tell): each
    class equally often, scalars over all of their range, texts as they are told
    there, one after the other."""
    found: list[SampleSpec] = []
    buckets: dict[Shape, dict[str, float]] = {}
    for i in range(n):
        labels: dict[str, Label] = {}
        for k, (name, field) in enumerate(fields.items()):
            if is_text(field):
                captions = like.captions(i % len(like)).get(name)
                labels[name] = captions[i // len(like) % len(captions)] if captions else None
            elif is_scalar(field):
                low, high = map(float, field)
                labels[name] = low + (high - low) * float(stream(seed, i, Purpose.DATA, k).random())
            else:
                order = stream(seed, i // len(field), Purpose.ORDER, k).permutation(len(field))
                labels[name] = field[int(order[i % len(field)])]
        own_size, shape = like.size(i % len(like)), like.shape(i % len(like))
        if own_size is None and shape is not None:
            if shape not in buckets:
                buckets[shape] = codec.size(like.read(i % len(like))[0])
            own_size = buckets[shape]
        found.append(SampleSpec(labels, dict(own_size or size), shape))
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
    those of the samples, by default the model's. What was made before an interruption stays.

    Raises ``OSError`` where the cache cannot be written.
    """
    fields, digest = model.conditioner.fields if fields is None else fields, header["sha256"]
    shapes = [model.codec.latent_shape(**spec.size) for spec in asked]
    keys = [hashed([digest, spec.labels, shape, i, how])
            for i, (spec, shape) in enumerate(zip(asked, shapes, strict=True))]
    with one_at_a_time(root / INDEX):
        shards = Shards(str(root), limit=SHARD)
        missing = [i for i, key in enumerate(keys) if key not in shards]
        worker = copy.deepcopy(model).to(chosen_device(None)) if missing else model
        try:
            batches = list(_batches(missing, shapes, batch_size))
            for batch in progress_bar(batches, title, leave=False, disable=not missing):
                for i, features in zip(batch, make(worker, batch, shapes[batch[0]]).float().cpu(), strict=True):
                    shards.add(keys[i], features.clone(), asked[i].size)
        finally:
            shards.flush()
        locations = [shards.locations[key] for key in keys]
        names = sorted({location.shard for location in locations})
        identity = settings(header["config"]["adapter"], model.codec, model.reader, dtype="float32")
        index = {
            "format": FORMAT, "settings": identity, "fields": plain_fields(fields), "data": {},
            "source": {"model": digest}, "skipped": [], "shards": names, "items": [
                {"name": f"{digest[:8]}/{i}", "column": spec.labels, "shape": spec.shape, "size": spec.size,
                 "places": [[names.index(location.shard), location.begin, location.end, location.shape]], "digest": key,
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
