"""Whether a model follows its maps: those of generated samples against the maps of held-out ones.

    error = mean over positions and channels of |map(generated) - map(held-out sample)|

    told            with the labels and the map of the held-out sample
    not told        with its labels alone
    another's map   as told, against the map of another held-out sample: what a map that is ignored would score
    codec           of the held-out sample, encoded and decoded: the floor
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..core.types import Masked
from ..data.labels import Label
from ..data.progress import progress_bar
from ..generation.pipeline import Pipeline
from ..metrics.bootstrap import bootstrap
from ..metrics.rows import Row
from ..model import LabelOrMap

TOLD, UNTOLD = "told", "not told"


def followed(
    pipeline: Pipeline, real: Sequence[Tensor], labels: Sequence[Mapping[str, Label]], untold: Sequence[Tensor], *,
    seed: int, batch_size: int,
) -> dict[str, dict[str, Row]]:
    """Rows of each map, for ``real`` samples ``(C, *S)`` with their ``labels``; ``untold`` are those of the model with
    the labels and seeds alone."""
    model = pipeline.model
    found: dict[str, dict[str, Row]] = {}
    for name in progress_bar(model.controls, "maps", unit="map", leave=False):
        maps = [model.map_of(name, sample) for sample in real]
        made = _generate(pipeline, name, maps, labels, seed, batch_size)
        trips = [model.decoded(model.codec.encode(Masked(x[None].to(model.device))).x)[0] for x in real]
        rows = {TOLD: _errors(pipeline, name, made, maps), UNTOLD: _errors(pipeline, name, untold, maps)}
        rows["another's map"] = _errors(pipeline, name, made, [*maps[1:], maps[0]])
        found[name] = {**rows, "codec": _errors(pipeline, name, trips, maps)}
    return found


def unfollowed(maps: Mapping[str, Mapping[str, Row]]) -> list[str]:
    """A line for each map that changes nothing beyond chance."""
    lines = []
    for name, rows in maps.items():
        told, untold = (rows[row].get("error") for row in (TOLD, UNTOLD))
        if isinstance(told, tuple) and isinstance(untold, tuple) and told.high >= untold.low:
            lines.append(f"The map {name} is not followed: told, samples are {told.value:.3g} from it, not told "
                         f"{untold.value:.3g}.")
    return lines


def _generate(
    pipeline: Pipeline, name: str, maps: Sequence[Tensor], labels: Sequence[Mapping[str, Label]], seed: int, size: int
) -> list[Tensor]:
    """A sample for each map, those of one size together."""
    model = pipeline.model
    made: dict[int, Tensor] = {}
    groups: dict[torch.Size, list[int]] = {}
    for i, found in enumerate(maps):
        groups.setdefault(found.shape[1:], []).append(i)
    for shape, members in groups.items():
        for start in range(0, len(members), size):
            part = members[start : start + size]
            rows: list[dict[str, LabelOrMap]] = [{**labels[i], name: maps[i]} for i in part]
            samples = model.decoded(model.latents(
                rows, [seed + i for i in part], shape, sampler=pipeline.sampler, guidance=pipeline.guidance,
            ))
            made.update(zip(part, samples, strict=True))
    return [made[i] for i in range(len(maps))]


def _errors(pipeline: Pipeline, name: str, samples: Sequence[Tensor], maps: Sequence[Tensor]) -> Row:
    """The mean distance to the maps, over what both have of each axis."""
    errors = []
    for sample, asked in zip(samples, maps, strict=True):
        own = pipeline.model.map_of(name, sample)
        both = tuple(slice(min(pair)) for pair in zip(own.shape, asked.shape, strict=True))
        errors.append((own[both] - asked[both]).abs().mean())
    return {"n": len(errors), "error": bootstrap(torch.stack(errors).cpu(), resamples=500)}
