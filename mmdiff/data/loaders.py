"""Data sets to batches: training draws and validation passes."""

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ..core.rng import Purpose, stream
from ..core.types import Masked
from .batch import Batch, Beside, Draw, Item, pad
from .captions import Tags, worded
from .dataset import Dataset, spread
from .labels import Label, encode_labels, is_text
from .splits import split
from .stream import Key, Shape, Stream, batch_sizes

TRIES = 10
"""Samples that are tried in place of one whose file cannot be read any more."""


class Loading:
    """How data are loaded: ``batch_size`` of one optimizer step over all devices, ``workers`` processes a device.

    Where samples come in several shapes, ``budget`` sizes the step by positions (frames x height x width) instead: a
    step then holds samples of one shape, a multiple of ``multiple`` of them. ``val`` is the part held out (see
    ``data.splits.split``), of which ``val_samples`` are scored (0 = no validation); ``limit`` trains on that many
    samples only. Both are spread evenly over what there is. ``group`` names a column: samples of one value are held out
    together; ``by_time`` holds out the last part of each file instead of whole ones. ``tags`` words captions anew for
    each draw.
    """

    def __init__(
        self, *, batch_size: int = 64, workers: int = 0, val: float | str | Mapping[str, Sequence[Label]] = 0.05,
        val_samples: int = 256, limit: int | None = None, budget: int | None = None, multiple: int = 4,
        group: str | None = None, by_time: bool = False, tags: Tags | None = None,
    ):
        least = {
            "batch_size": (batch_size, 1), "workers": (workers, 0), "val_samples": (val_samples, 0),
            "limit": (limit, 1), "budget": (budget, 1), "multiple": (multiple, 1),
        }
        for name, (value, low) in least.items():
            if value is not None and value < low:
                raise ValueError(f"{name} is at least {low}, got {value}")
        self.budget, self.multiple = budget, multiple
        self.batch_size, self.workers, self.val, self.val_samples = batch_size, workers, val, val_samples
        self.limit, self.group, self.by_time, self.tags = limit, group, by_time, tags

    def split(self, dataset: Dataset) -> tuple[Dataset, Dataset]:
        """Training and validation part."""
        return split(dataset, self.val, group=self.group, by_time=self.by_time)

    def order(self, dataset: Dataset, **options: Any) -> Stream:
        """The training stream of a data set; ``options`` go to ``Stream``."""
        shapes = [dataset.shape(i) for i in range(len(dataset))]
        sizes: int | dict[Shape, int] = self.batch_size
        if self.budget is not None:
            sizes = batch_sizes(shapes, budget=self.budget, multiple=self.multiple)
        return Stream(shapes, sizes, parts=dataset.shares(), **options)


class _Draws(TorchDataset):
    """Items keyed by (draw, index), read without random choices for validation."""

    def __init__(self, dataset: Dataset, seed: int, random: bool, tags: Tags | None = None):
        self.dataset, self.seed, self.random, self.tags = dataset, seed, random, tags
        self.texts = any(map(is_text, dataset.fields.values()))

    def __getitem__(self, key: Key) -> Item:
        draw, index = key
        rng = stream(self.seed, draw, Purpose.AUGMENT) if self.random else None
        sample, labels, beside, index = self._read(index, rng)
        if self.random and self.texts:
            words = stream(self.seed, draw, Purpose.WORDS)
            labels = worded(labels, self.dataset.captions(index), self.tags, words)
        return Item(sample, labels, draw, self.random and self.dataset.keep_labels(index), beside)

    def _read(
        self, index: int, rng: np.random.Generator | None
    ) -> tuple[Tensor, dict[str, Label], Mapping[str, Tensor | None], int]:
        """A sample, what lies beside it, and its number; where a file has become unreadable its fixed choice, or else
        the next sample, with a warning."""
        for step in range(TRIES if self.random else 1):
            other = (index + step) % len(self.dataset)
            for chance in (rng, None) if self.random else (None,):
                state = copy.deepcopy(chance) if self.dataset.maps else None
                try:
                    sample, labels = self.dataset.read(other, chance)
                    return sample, labels, read_beside(self.dataset, other, sample, state), other
                except (ValueError, OSError) as error:
                    reason = error
                    warnings.warn(f"{self.dataset.name(other)} cannot be read: {error}", stacklevel=2)
        raise reason


class _Collate:
    """Items to a batch; ``draw`` gives it what is random in a loss, of steps of ``world`` such batches."""

    def __init__(self, dataset: Dataset, draw: Draw | None = None, *, seed: int = 0, world: int = 1):
        self.fields, self.encoded, self.maps = dataset.fields, dataset.encoded, dataset.maps
        self.draw, self.seed, self.world = draw, seed, world

    def __call__(self, items: list[Item]) -> Batch:
        labels = encode_labels(self.fields, [item.labels for item in items])
        draws = torch.tensor([item.draw for item in items])
        keep_labels = torch.tensor([item.keep_labels for item in items])
        samples = pad([item.sample for item in items])
        beside = {name: _beside(name, items) for name in self.maps}
        batch = Batch(samples, labels, draws, self.encoded, keep_labels if keep_labels.any() else None,
                      beside=beside or None)
        return batch if self.draw is None else self.draw(batch, self.seed, batch_size=self.world * len(items))


def read_beside(
    dataset: Dataset, index: int, sample: Tensor, rng: np.random.Generator | None = None,
    names: Sequence[str] | None = None,
) -> Mapping[str, Tensor | None]:
    """What lies beside a ``sample`` that was read with an ``rng`` in that state, for all maps or those of ``names``.
    Raises ``ValueError`` where it is of another shape."""
    found = dataset.beside(index, rng, names)
    for name, x in found.items():
        if x is not None and x.shape != sample.shape:
            raise ValueError(f"its file of the map {name} gives {tuple(x.shape)}, itself {tuple(sample.shape)}")
    return found


def _beside(name: str, items: Sequence[Item]) -> Beside:
    """What lies beside the samples of a batch for one map."""
    there = [item.beside.get(name) for item in items]
    x = pad([torch.zeros_like(item.sample) if one is None else one for item, one in zip(items, there, strict=True)]).x
    return Beside(x, torch.tensor([one is not None for one in there]))


def train_loader(
    dataset: Dataset, order: Stream, *, workers: int = 0, pin_memory: bool = False, draw: Draw | None = None,
    tags: Tags | None = None,
) -> DataLoader:
    """Training batches in the order of a stream, one an optimizer step; ``draw`` gives them what is random in a
    learner's loss, ``tags`` words captions."""
    return DataLoader(
        _Draws(dataset, order.seed, random=True, tags=tags), batch_sampler=order,
        collate_fn=_Collate(dataset, draw, seed=order.seed, world=order.world), num_workers=workers,
        pin_memory=pin_memory, generator=torch.Generator(),
    )


def eval_loader(
    dataset: Dataset, batch_size: int, *, limit: int | None = None, rank: int = 0, world: int = 1, workers: int = 0
) -> DataLoader:
    """One pass over ``limit`` samples, spread evenly, without random choices; rank r of W gets every W-th batch. The
    draw is the index."""
    chosen = spread(len(dataset), limit)
    batches = [[(i, i) for i in batch] for batch in batches_of_one_shape(dataset, chosen, batch_size)]
    return DataLoader(
        _Draws(dataset, 0, random=False), batch_sampler=batches[rank::world],
        collate_fn=_Collate(dataset), num_workers=workers, generator=torch.Generator(),
    )


def samples(dataset: Dataset, batch_size: int = 32, *, limit: int | None = 2048) -> Iterator[Masked]:
    """Batches of samples (or features) alone, spread evenly over the data set: what a codec measures its whitening on.
    """
    for batch in batches_of_one_shape(dataset, spread(len(dataset), limit), batch_size):
        yield pad([dataset.read(i)[0] for i in batch])


def batches_of_one_shape(dataset: Dataset, indices: Iterable[int], batch_size: int) -> list[list[int]]:
    """``indices`` in batches of samples of one shape, those of each shape in order."""
    groups: dict[Shape, list[int]] = {}
    for i in indices:
        groups.setdefault(dataset.shape(i), []).append(i)
    return [members[k : k + batch_size] for members in groups.values() for k in range(0, len(members), batch_size)]
