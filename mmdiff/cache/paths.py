"""Sampling paths of a model, from noise to data, made once: what a student of few calls learns from (``few=paths``).

    path i    the noise that it begins with, and the x0 that the model said at each call of sampler=auto under
              classifier-free guidance, whitened, one after the other along the channels

Noise and scale are keyed by (seed, i). Labels and size are those of one training sample, each as often: what never goes
together teaches nothing. Labels are hidden as often as in training, so that what is told of them alone is learned too.
A sampler is linear in what is said, so it finds the way of the path again without the network.
"""

import copy
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..core.jumps import guided
from ..core.rng import Purpose, normal, stream, uniform
from ..core.samplers import Auto
from ..core.types import Masked
from ..data.cached import cache_folder
from ..data.captions import Tags
from ..data.dataset import Dataset
from ..data.labels import encode_labels
from ..model import DiffusionModel
from ..store import chosen_device
from .generated import SampleSpec, kept, labels_of, sample_specs
from .latents import Latents

SCALE = "guidance.scale"
"""The field of a path that tells its guidance scale."""
BATCH = 64
"""Paths that are made at once."""


class PathWay(NamedTuple):
    """Where B paths of n calls are: x at the ``nodes`` ``(B, n + 1, C, *S)``, the last of which is the sample; the x0
    ``said`` at each but that, ``(B, n, C, *S)``; and the ``times`` of all, ``(n + 1,)`` float64, from 1 to 0."""

    nodes: Tensor
    said: Tensor
    times: Tensor


class Cost(NamedTuple):
    """What things that are made before the first step take: how many, and each of them in seconds and bytes on disk."""

    number: int
    seconds: float
    size: int


def paths(
    model: DiffusionModel, header: Mapping[str, Any], like: Dataset, n: int, *, calls: int, scales: tuple[float, float],
    seed: int = 0, tags: Tags | None = None,
) -> Latents:
    """``n`` paths of so many ``calls``, ``(C (calls + 1), *S)`` each, of the sizes and labels of ``like``; its captions
    are worded by ``tags``.

    Raises ``OSError`` where the cache cannot be written.
    """
    asked = specs_of(model, header, like, n, scales=scales, seed=seed, tags=tags)

    def make(worker: DiffusionModel, batch: list[int], shape: tuple[int, ...]) -> Tensor:
        return path(worker, [asked[i] for i in batch], starts(worker, batch, shape, seed=seed), calls).flatten(1, 2)

    return kept(model, header, asked, make, root=cache_folder() / "paths" / header["sha256"][:32],
                how=["paths", calls, seed], title="the teacher's paths", batch_size=BATCH,
                fields={**model.conditioner.fields, SCALE: scales})


def cost(
    model: DiffusionModel, header: Mapping[str, Any], like: Dataset, n: int, *, calls: int, scales: tuple[float, float]
) -> Cost:
    """What ``paths`` would take, found by making some that are not kept."""
    asked = specs_of(model, header, like, 8, scales=scales, seed=0)
    worker = copy.deepcopy(model).to(chosen_device(None))
    shape = model.codec.latent_shape(**asked[0].size)
    start = time.perf_counter()
    found = path(worker, asked, starts(worker, range(8), shape, seed=0), calls).cpu()
    return Cost(n, (time.perf_counter() - start) / len(asked), 4 * found[0].numel())


def starts(model: DiffusionModel, numbers: Sequence[int], shape: Sequence[int], *, seed: int) -> Tensor:
    """The noise ``(B, C, *shape)`` that paths of these numbers begin with: none that a request ever has."""
    like = Masked(torch.empty(len(numbers), model.codec.channels, *shape, device=model.device))
    end = model.denoiser.schedule.level(torch.ones((), dtype=torch.float64))
    return float(torch.hypot(*end)) * normal(seed, torch.tensor(numbers), Purpose.PATH, like, part=1)


@torch.no_grad()
def path(model: DiffusionModel, asked: Sequence[SampleSpec], x1: Tensor, calls: int) -> Tensor:
    """``(B, calls + 1, C, *S)``: ``x1``, and what is said on the way."""
    scale = torch.tensor([float(str(spec.labels[SCALE])) for spec in asked], device=x1.device)
    rows = [{name: value for name, value in spec.labels.items() if name != SCALE} for spec in asked]
    cond, null = model.condition(rows), model.contrast(rows)
    denoise = guided(model.denoiser, cond, null, None if bool((scale == 1).all()) else scale)
    found = [x1]

    def watched(x_t: Tensor, t: Tensor) -> Tensor:
        found.append(model.codec.limited(denoise(x_t, t)))
        return found[-1]

    Auto(calls)(watched, x1, model.denoiser.schedule)
    return torch.stack(found, 1)


@torch.no_grad()
def way(model: DiffusionModel, path: Tensor, calls: int) -> PathWay:
    """The way of paths ``(B, C (calls + 1), *S)`` as they are kept."""
    x1, *said = rearrange(path, "b (n c) ... -> n b c ...", n=calls + 1)
    sampler, schedule, nodes = Auto(calls), model.denoiser.schedule, []

    def again(x_t: Tensor, t: Tensor) -> Tensor:
        nodes.append(x_t)
        return said[len(nodes) - 1]

    x0 = model.codec.limited(sampler(again, x1, schedule))
    times = torch.cat([sampler.grid(schedule, calls), torch.zeros(1, dtype=torch.float64)])
    return PathWay(torch.stack([*nodes, x0], 1), torch.stack(said, 1), times)


def specs_of(
    model: DiffusionModel, header: Mapping[str, Any], like: Dataset, n: int, *, scales: tuple[float, float], seed: int,
    tags: Tags | None = None,
) -> list[SampleSpec]:
    """What ``n`` paths are made of: labels, those that are hidden left out, and scales."""
    conditioner, fields = model.conditioner, model.conditioner.fields
    u = uniform(seed, torch.arange(n), Purpose.PATH, 2 + len(fields))
    rounds = [stream(seed, k, Purpose.PATH, part=2).permutation(len(like)) for k in range(-(-n // len(like)))]
    numbers = np.concatenate(rounds)[:n].tolist()
    labels = labels_of(fields, like, numbers, seed=seed, tags=tags)
    found = sample_specs(labels, like, numbers, model.codec, header["config"]["size"])
    told = conditioner.hide(encode_labels(fields, [spec.labels for spec in found]), u[:, 1:])
    return [spec._replace(labels={**{name: value if _tells(told[name][i]) else None
                                     for name, value in spec.labels.items()},
                                  SCALE: scales[0] + (scales[1] - scales[0]) * scale})
            for i, (spec, scale) in enumerate(zip(found, u[:, 0].tolist(), strict=True))]


def _tells(value: Tensor | str | None) -> bool:
    """Whether an entry of a column says anything: class -1, NaN and None do not."""
    if not isinstance(value, Tensor):
        return value is not None
    return not bool(value.isnan() if value.is_floating_point() else value == -1)
