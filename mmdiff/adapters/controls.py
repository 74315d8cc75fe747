"""Maps: what a sample is to follow position by position, such as its outlines or its loudness.

    map = Control(features, latents)             of the sample itself while training, of any file when generating
    Condition.concat = [map_1 told_1, told_1, map_2 told_2, told_2, ...]

``features`` are what the codec makes of a sample (pixels, log-mel spectra, coordinates), ``latents`` the same whitened,
both on the latent's grid. Those of a draw are of its crop, so that a map is cropped and flipped as its sample is. A map
that is not told is zero, and so is the channel that says whether it is.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.types import Condition, Masked
from ..data.batch import Batch, unpad


class Control(ABC):
    """How a map is made of a sample, and of nothing else. The constructor's first argument, ``channels``, are those of
    the latent, from the codec; arguments that are named as one of ``Codec.facts`` come from there too."""

    width: int
    """C', the channels of the map."""

    of_files: bool = False
    """Whether it is of no use to make it of the sample itself: it needs files beside the samples, ``data.maps``."""

    of_latents: bool = False
    """Whether it is of use where features are learned latents, which have a meaning to their codec alone."""

    @abstractmethod
    def __call__(self, features: Tensor, latents: Tensor) -> Tensor:
        """Samples without padding, twice ``(B, C, *S)`` -> maps ``(B, width, *S)`` with values of the order of 1."""


class Companion(Control):
    """Another sample as it is, such as a film in another style: what lies beside each sample in ``data.maps``."""

    of_files = True
    of_latents = True

    def __init__(self, channels: int):
        self.width = channels

    def __call__(self, features: Tensor, latents: Tensor) -> Tensor:
        return latents


def total(controls: Mapping[str, Control]) -> int:
    """Channels of ``Condition.concat``: those of all maps, each with one that says whether it is told."""
    return sum(control.width + 1 for control in controls.values())


def presence_channels(controls: Mapping[str, Control]) -> list[int]:
    """The channels of ``Condition.concat`` that say whether a map is told."""
    ends = accumulate(control.width + 1 for control in controls.values())
    return [end - 1 for end in ends]


@torch.no_grad()
def maps_of(
    control: Control, features: Masked, latents: Masked, extents: Sequence[tuple[int, ...]] | None = None
) -> Tensor:
    """The maps ``(B, width, *S)`` of a padded batch, each made of its sample alone and zero beyond it."""
    if latents.mask is None:
        return control(features.x.float(), latents.x)
    maps = latents.x.new_zeros(len(latents.x), control.width, *latents.x.shape[2:])
    pairs = zip(unpad(Masked(features.x.float(), latents.mask), extents), unpad(latents, extents), strict=True)
    for x, (sample, latent) in zip(maps, pairs, strict=True):
        x[(slice(None), *(slice(n) for n in latent.shape[1:]))] = control(sample[None], latent[None])[0]
    return maps


def joined(
    controls: Mapping[str, Control], maps: Mapping[str, Tensor], present: Mapping[str, Tensor]
) -> Tensor | None:
    """``Condition.concat`` ``(B, C', *S)`` of maps ``(B, width, *S)``, where ``present`` ``(B,)``; None
    without controls."""
    parts = []
    for name in controls:
        kept = present[name].to(maps[name].device).reshape(-1, *(1,) * (maps[name].ndim - 1))
        parts.append(torch.where(kept, maps[name], 0))
        parts.append(kept.expand_as(maps[name][:, :1]).to(maps[name]))
    return torch.cat(parts, 1) if parts else None


class MapSource(NamedTuple):
    """What the maps of B samples are made of: ``features`` and ``latents`` of a codec, ``(B, C, *S)``."""

    features: Masked
    latents: Masked


def sources(
    controls: Mapping[str, Control], batch: Batch, kept: Tensor, encode: Callable[..., MapSource]
) -> tuple[dict[str, MapSource], Tensor]:
    """What lies beside the samples of a batch for maps, by ``encode(samples, encoded=)``, and which are ``kept``
    ``(B, controls)`` of those that are there."""
    there = {name: one for name, one in (batch.beside or {}).items() if name in controls}
    present = [there[name].present.to(kept) if name in there else torch.ones_like(kept[:, 0]) for name in controls]
    found = {name: encode(Masked(one.x, batch.samples.mask), encoded=batch.encoded) for name, one in there.items()}
    return found, kept & torch.stack(present, 1) if there else kept


def following(
    cond: Condition, controls: Mapping[str, Control], source: MapSource, beside: Mapping[str, MapSource], kept: Tensor,
    extents: Sequence[tuple[int, ...]] | None = None,
) -> Condition:
    """``cond`` with the maps of the samples themselves, or of what lies ``beside`` them for a map, where ``kept``
    ``(B, controls)``."""
    if not controls:
        return cond
    maps = {name: maps_of(control, *beside.get(name, source), extents) for name, control in controls.items()}
    return cond._replace(concat=joined(controls, maps, dict(zip(controls, kept.unbind(1), strict=True))))


def gathered(
    controls: Mapping[str, Control], rows: Sequence[Mapping[str, object]], device: torch.device
) -> Tensor | None:
    """``Condition.concat`` of B rows, which have the map ``(width, *S)`` of a control under its name where it is told;
    None where none is. Raises ``ValueError`` for what is no such map."""
    given_maps = [(name, row[name]) for row in rows for name in controls if row.get(name) is not None]
    if not given_maps:
        return None
    size = None
    for name, found in given_maps:
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != controls[name].width:
            raise ValueError(f"the map {name} is a tensor of {controls[name].width} channels and the latent's size, "
                             f"got {tuple(found.shape) if isinstance(found, Tensor) else repr(found)}")
        if found.shape[1:] != (size := found.shape[1:] if size is None else size):
            raise ValueError(f"the map {name} has the size {tuple(found.shape[1:])}, another map {tuple(size)}")
    blank = {name: torch.zeros(control.width, *(size or ())) for name, control in controls.items()}
    maps, present = {}, {}
    for name in controls:
        values = [row.get(name) for row in rows]
        maps[name] = torch.stack([value.float().to(device) if isinstance(value, Tensor) else blank[name].to(device)
                                  for value in values])
        present[name] = torch.tensor([value is not None for value in values])
    return joined(controls, maps, present)
