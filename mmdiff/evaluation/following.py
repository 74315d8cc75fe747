"""Whether a model follows its maps: those of generated samples against the maps of held-out ones.

    error = mean over positions and channels of |map(generated) - map(held-out sample)|,   or of the latents themselves
                                                where a map is made of a file beside a sample, and not of the sample

    with map        with the labels and the map of the held-out sample
    without map     with its labels alone
    another's map   with map, against the map of another held-out sample: what a map that is ignored would score
    codec           of the held-out sample, encoded and decoded: the floor

Besides, how near the samples themselves are to the held-out ones, as the judge tells it (PSNR, CD ...): that is what a
film of low resolution is made sharp for, and little where a map leaves much open.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor

from ..adapters.judge import Judge
from ..core.types import Masked
from ..data.dataset import spread
from ..data.labels import Label
from ..data.progress import progress_bar
from ..generation.pipeline import Pipeline
from ..metrics.bootstrap import bootstrap
from ..metrics.rows import Row
from ..model import DiffusionModel, LabelOrMap
from .evaluated import Evaluated

WITH, WITHOUT = "with map", "without map"


def followed(
    pipeline: Pipeline, judge: Judge, real: Sequence[Tensor], labels: Sequence[Mapping[str, Label]],
    without: Sequence[Tensor], *, seed: int, batch_size: int,
    beside: Mapping[str, Sequence[Tensor | None]] = MappingProxyType({}),
) -> dict[str, dict[str, Row]]:
    """Rows of each map, for ``real`` samples ``(C, *S)`` with their ``labels``; ``without`` are those of the model with
    the labels and seeds alone. A map that is made of what lies ``beside`` the samples is judged on those that have
    that."""
    model = pipeline.model
    found: dict[str, dict[str, Row]] = {}
    for name in progress_bar(model.controls, "maps", unit="map", leave=False):
        sources = beside.get(name, real)
        there = [i for i, x in enumerate(sources) if x is not None]
        samples = [real[i] for i in there]
        maps = [model.map_of(name, x) for x in sources if x is not None]
        generated = _generate(pipeline, name, maps, [labels[i] for i in there], seed, batch_size)
        trips = [model.decoded(model.codec.encode(Masked(x[None].to(model.device))).x)[0] for x in samples]
        view = partial(model.map_of, name) if name not in beside else partial(_latent, model)
        asked = [*zip(maps if name not in beside else map(view, samples), samples, strict=True)]
        found[name] = {
            kind: _errors(view, judge, made, asked[turn:] + asked[:turn])
            for kind, made, turn in (
                (WITH, generated, 0), (WITHOUT, [without[i] for i in there], 0), ("another's map", generated, 1),
                ("codec", trips, 0),
            )
        }
    return found


def _latent(model: DiffusionModel, sample: Tensor) -> Tensor:
    return model.codec.encode(Masked(sample[None].to(model.device))).x[0]


def companions(
    evaluated: Evaluated, judge: Judge, maps: Iterable[str], n: int
) -> dict[str, list[Tensor | None]]:
    """What lies beside the ``real_samples`` that were held out for each of ``maps``, of their size."""
    dataset = evaluated.held_out
    names, chosen = [name for name in maps if name in dataset.maps], spread(len(dataset), n)
    found: dict[str, list[Tensor | None]] = {name: [] for name in names}
    for beside in (dataset.beside(i) for i in chosen) if names else ():
        for name in names:
            x = beside[name]
            found[name].append(x if x is None else judge.parted(judge.stacked([x], evaluated.codec, evaluated.size))[0])
    return found


def unfollowed(maps: Mapping[str, Mapping[str, Row]]) -> list[str]:
    """A line for each map that changes nothing beyond chance."""
    lines = []
    for name, rows in maps.items():
        followed, floor = (rows[row].get("error") for row in (WITH, WITHOUT))
        if isinstance(followed, tuple) and isinstance(floor, tuple) and followed.high >= floor.low:
            lines.append(f"The map {name} is not followed: with it, samples are {followed.value:.3g} from it, without "
                         f"{floor.value:.3g}.")
    return lines


def _generate(
    pipeline: Pipeline, name: str, maps: Sequence[Tensor], labels: Sequence[Mapping[str, Label]], seed: int, size: int
) -> list[Tensor]:
    """A sample for each map, those of one size together."""
    model = pipeline.model
    generated: dict[int, Tensor] = {}
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
            generated.update(zip(part, samples, strict=True))
    return [generated[i] for i in range(len(maps))]


def _errors(
    view: Callable[[Tensor], Tensor], judge: Judge, samples: Sequence[Tensor], asked: Sequence[tuple[Tensor, Tensor]]
) -> Row:
    """Mean distances of what is seen of samples to what was ``asked`` for, and of them to the samples that those are
    of, over what both have of each axis."""
    measured: dict[str, list[Tensor]] = {}
    for sample, (wanted, truth) in zip(samples, asked, strict=True):
        found, wanted = _common(view(sample), wanted)
        distances = judge.paired(*(x[None].cpu() for x in _common(sample, truth)))
        for metric, value in {"error": (found - wanted).abs().mean()[None], **distances}.items():
            measured.setdefault(metric, []).append(value.cpu())
    columns = {metric: torch.cat(values) for metric, values in measured.items()}
    known = {metric: column[column.isfinite()] for metric, column in columns.items()}
    return {"n": len(samples), **{metric: bootstrap(x, resamples=500) for metric, x in known.items() if len(x) > 1}}


def _common(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """What both have of each axis."""
    both = tuple(slice(min(pair)) for pair in zip(a.shape, b.shape, strict=True))
    return a[both], b[both]
