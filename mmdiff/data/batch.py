"""One batch for every modality: padded samples, their mask, labels and the draws that key their randomness."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..core.types import Masked
from .labels import Column


class Item(NamedTuple):
    """One sample ``(C, *S)`` with its raw labels and the number of its draw in the training stream; ``keep_labels``
    where none of its labels may be hidden; ``beside`` has what lies beside it for maps, of the same shape."""

    sample: Tensor
    labels: dict[str, str | float | None]
    draw: int
    keep_labels: bool = False
    beside: Mapping[str, Tensor | None] = MappingProxyType({})


class Beside(NamedTuple):
    """What lies beside B samples for one map: ``x`` ``(B, C, *S)`` of the samples' own mask, zero where a sample has
    nothing; ``present`` ``(B,)``."""

    x: Tensor
    present: Tensor


class Batch(NamedTuple):
    """Samples ``(B, C, *S)`` with mask, encoded labels of B samples a field, and draws ``(B,)`` int64.

    ``encoded`` tells that the samples are a codec's features, ``keep_labels`` ``(B,)`` of which nothing may be
    hidden, None of none.
    """

    samples: Masked
    labels: dict[str, Column]
    draws: Tensor
    encoded: bool = False
    keep_labels: Tensor | None = None
    random: Mapping[str, Tensor] | None = None
    """All that is random in the loss, ``(B, ...)`` each, once a learner's ``draw`` has been called."""
    extents: Sequence[tuple[int, ...]] | None = None
    """``*S`` of each sample's latent, known with that, where they are of several sizes."""
    beside: Mapping[str, Beside] | None = None
    """What maps are made of, by name, instead of the samples."""

    def split(self, parts: int) -> list["Batch"]:
        """The batch in so many equal parts, in order."""
        (x, mask), size = self.samples, len(self.draws) // parts
        return [
            Batch(
                Masked(x[part], None if mask is None else mask[part]),
                {name: value[part] for name, value in self.labels.items()}, self.draws[part], self.encoded,
                None if self.keep_labels is None else self.keep_labels[part],
                None if self.random is None else {name: value[part] for name, value in self.random.items()},
                None if self.extents is None else self.extents[part],
                None if self.beside is None else {
                    name: Beside(one.x[part], one.present[part]) for name, one in self.beside.items()
                },
            )
            for part in (slice(k * size, (k + 1) * size) for k in range(parts))
        ]


class Draw(Protocol):
    """What is random in a learner's loss: ``batch`` with it, fixed by (seed, draw); a step has ``batch_size`` draws.

    A function of keys and shapes alone: data workers call it, so that a batch has all of it when it comes.
    """

    def __call__(self, batch: Batch, seed: int, *, batch_size: int) -> Batch: ...


def pad(samples: list[Tensor]) -> Masked:
    """Samples ``(C, *S)`` of any sizes, padded at the end of every axis to the largest; mask None if all are alike."""
    shapes = [s.shape[1:] for s in samples]
    if len(set(shapes)) == 1:
        return Masked(torch.stack(samples))
    size = [max(axis) for axis in zip(*shapes, strict=True)]
    x = samples[0].new_zeros(len(samples), samples[0].shape[0], *size)
    mask = torch.zeros(len(samples), 1, *size, dtype=torch.bool)
    for i, sample in enumerate(samples):
        box = (slice(None), *(slice(n) for n in sample.shape[1:]))
        x[i][box] = sample
        mask[i][box] = True
    return Masked(x, mask)


def unpad(samples: Masked, extents: Sequence[tuple[int, ...]] | None = None) -> list[Tensor]:
    """The inverse of ``pad``; ``extents``, where they are known, save the device the question."""
    if samples.mask is None:
        return list(samples.x)
    if extents is None:
        extents = [tuple((m[0].nonzero().amax(0) + 1).tolist()) for m in samples.mask]
    return [x[(slice(None), *map(slice, extent))] for x, extent in zip(samples.x, extents, strict=True)]
