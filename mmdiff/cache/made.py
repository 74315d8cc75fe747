"""What a model makes of the labels that it knows, as a cache of latents: made once, for all runs that start from it.

    key = sha256(hash of the model, labels, shape, seed, dtype)        at guidance scale 1, by the model's own sampler

The folder is that of the model's hash, below the folder of all caches. A key that is there is never made again.
"""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..config.build import build
from ..core.rng import Purpose, stream
from ..core.samplers import Sampler
from ..core.types import Masked
from ..data.cached import cache_folder, one_at_a_time
from ..data.dataset import Dataset
from ..data.labels import Fields, Label, is_scalar, is_text, plain_fields
from ..data.progress import progress_bar
from ..model import DiffusionModel
from ..store import chosen_device
from .encode import hashed, settings
from .latents import FORMAT, INDEX, Latents
from .shards import Shards

BATCH = 16
"""Latents that are made at once."""
SHARD = 64 * 2**20
"""Bytes of a file, at most."""


class Wish(NamedTuple):
    """What one sample is made of: labels, the size in the codec's words, and where it goes in batches of one shape."""

    labels: dict[str, Label]
    size: dict[str, float]
    shape: tuple[int, ...] | None


def wishes(fields: Fields, like: Dataset, size: Mapping[str, float], n: int, *, seed: int = 0) -> list[Wish]:
    """``n`` wishes within ``fields``, of the sizes of the samples of ``like`` (``size`` where those do not tell): each
    class equally often, scalars over all of their range, texts as they are told there."""
    found = []
    for i in range(n):
        labels: dict[str, Label] = {}
        for k, (name, field) in enumerate(fields.items()):
            if is_text(field):
                told = like.captions(i % len(like)).get(name)
                labels[name] = told[0] if told else None
            elif is_scalar(field):
                low, high = map(float, field)
                labels[name] = low + (high - low) * float(stream(seed, i, Purpose.DATA, k).random())
            else:
                order = stream(seed, i // len(field), Purpose.ORDER, k).permutation(len(field))
                labels[name] = field[int(order[i % len(field)])]
        found.append(Wish(labels, dict(like.size(i % len(like)) or size), like.shape(i % len(like))))
    return found


def made(model: DiffusionModel, header: Mapping[str, Any], asked: Sequence[Wish]) -> Latents:
    """The latents that the model of a file with this ``header`` makes of what is ``asked``, as a data set.

    Raises ``OSError`` where the cache cannot be written.
    """
    config, codec = header["config"], model.codec
    told = settings(config["adapter"], codec, model.reader, dtype="float32")
    root = cache_folder() / "made" / header["sha256"][:32]
    shapes = [codec.latent_shape(**wish.size) for wish in asked]
    keys = [hashed([header["sha256"], wish.labels, shape, i, config["sampler"]])
            for i, (wish, shape) in enumerate(zip(asked, shapes, strict=True))]
    with one_at_a_time(root / INDEX):
        shards = Shards(str(root), limit=SHARD)
        missing = [i for i, key in enumerate(keys) if key not in shards]
        sampler = build(config["sampler"], Sampler)
        worker = copy.deepcopy(model).to(chosen_device(None)) if missing else model
        batches = list(_batches(missing, shapes))
        for batch in progress_bar(batches, "the base's samples", leave=False, disable=not missing):
            latents = worker.latents([asked[i].labels for i in batch], batch, shapes[batch[0]], sampler=sampler)
            for i, features in zip(batch, worker.codec.unwhiten(Masked(latents)).x.float().cpu(), strict=True):
                shards.add(keys[i], features.clone(), asked[i].size)
        shards.flush()
        places = [shards.places[key] for key in keys]
        names = sorted({place.shard for place in places})
        index = {
            "format": FORMAT, "settings": told, "fields": plain_fields(model.conditioner.fields), "data": {},
            "source": {"model": header["sha256"]}, "skipped": [], "shards": names, "items": [
                {"name": f"{header['sha256'][:8]}/{i}", "column": wish.labels, "shape": wish.shape, "size": wish.size,
                 "places": [[names.index(place.shard), place.begin, place.end, place.shape]], "digest": key,
                 **({"captions": said} if (said := _texts(wish, model.conditioner.fields)) else {})}
                for i, (wish, place, key) in enumerate(zip(asked, places, keys, strict=True))
            ],
        }
        shards.write(INDEX, json.dumps(index).encode())
        return Latents(None, str(root))


def _texts(wish: Wish, fields: Fields) -> dict[str, list[str]]:
    return {name: [str(value)] for name, value in wish.labels.items() if is_text(fields[name]) and value}


def _batches(indices: Sequence[int], shapes: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
    """Of one shape each, in order."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i in indices:
        groups.setdefault(tuple(shapes[i]), []).append(i)
    for members in groups.values():
        yield from (members[k : k + BATCH] for k in range(0, len(members), BATCH))
