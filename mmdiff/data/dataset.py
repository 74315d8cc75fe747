"""What training asks of a data source."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import Tensor

from .labels import Fields, Label, is_text
from .stream import Shape


class Dataset(ABC):
    """Labelled samples by index; picklable, so that data workers can hold it."""

    fields: Fields
    """What can be told of a sample: class names, or the (low, high) of a scalar, by field name."""

    inferred: Mapping[str, Any] = MappingProxyType({})
    """What files say of arguments of the codec that were left to them."""

    encoded: bool = False
    """Whether ``read`` gives a codec's features instead of a sample."""

    maps: tuple[str, ...] = ()
    """The maps that are made of what lies ``beside`` its samples, instead of the samples."""

    consent: str | None = None
    """What those who are seen or heard in it have agreed to, in the words of whoever trains on it."""

    @abstractmethod
    def __len__(self) -> int:
        """How many samples there are."""

    @abstractmethod
    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        """Sample ``(C, *S)`` and its labels; ``rng`` makes the random choices, None the fixed one of validation."""

    @abstractmethod
    def name(self, index: int) -> str:
        """A stable name, such as the path below the root."""

    def shape(self, index: int) -> Shape:
        """The extent ``*S`` of a sample without reading it, by which batches are formed; None = all go together."""
        return None

    def extent(self, index: int) -> Shape:
        """The extent ``*S`` of what ``read`` gives, or None where only a read would tell."""
        return self.shape(index)

    def size(self, index: int) -> dict[str, float] | None:
        """The size of a sample in the words of its codec, or None where only a read would tell."""
        return None

    def column(self, index: int) -> dict[str, Label]:
        """All that is known of a sample without reading it, labels included; a split may use what no condition does."""
        return {}

    def captions(self, index: int) -> Mapping[str, Sequence[str]]:
        """All captions of a sample by text field: a draw is told one of them, validation the first, as ``read`` is."""
        column = self.column(index)
        return {name: [str(column[name])] for name, field in self.fields.items() if is_text(field) and column.get(name)}

    def beside(
        self, index: int, rng: np.random.Generator | None = None, names: Sequence[str] | None = None
    ) -> Mapping[str, Tensor | None]:
        """What lies beside a sample for each of ``maps``, ``(C, *S)`` as ``read`` gives with an ``rng`` in that state;
        None where nothing does. Of those in ``names`` alone, where they are given."""
        return {}

    def mapped(self, index: int) -> Sequence[str]:
        """For which of ``maps`` something lies beside a sample."""
        return [name for name, x in self.beside(index).items() if x is not None]

    def keep_labels(self, index: int) -> bool:
        """Whether its draws are told all that is known of it: no label and no map of it is hidden in training."""
        return False

    def shares(self) -> Sequence[tuple[int, float]]:
        """How many samples each part of it has, in order, and its share of every training step."""
        return [(len(self), 1.0)]

    def digest(self, index: int) -> str:
        """A hash of all that a sample is made of, random choices and the reader's settings left out."""
        sample, _ = self.read(index)
        return hashlib.sha256(f"{sample.dtype} {tuple(sample.shape)}".encode() + sample.numpy().tobytes()).hexdigest()

    def known(self) -> Fields:
        """What samples can be judged by, told to a model or not; by default the fields that are no texts."""
        return {name: field for name, field in self.fields.items() if not is_text(field)}

    def fields_of(self, indices: Sequence[int]) -> Fields:
        """``fields`` as they would be if there were these samples alone."""
        return self.fields

    def cut(self, fraction: float) -> tuple["Dataset", "Dataset"]:
        """What comes before ``fraction`` of the time of each file, and what comes after. ``ValueError`` where these are
        no files, or such as have no time."""
        raise ValueError("loader.by_time needs files of which parts can be read, data=folder: these samples are wholes")

    def laid_out(self, indices: Sequence[int]) -> "Dataset":
        """Some samples; of a file that holds several, one after another, all of them."""
        return Subset(self, indices)

    def report(self) -> dict:
        """What was kept and what was skipped, with reasons."""
        return {"kept": len(self), "skipped": []}


class Subset(Dataset):
    """Some samples of a data set."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]):
        self.dataset, self.indices = dataset, list(indices)
        self.fields, self.encoded, self.consent = dataset.fields, dataset.encoded, dataset.consent
        self.maps = dataset.maps

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        return self.dataset.read(self.indices[index], rng)

    def name(self, index: int) -> str:
        return self.dataset.name(self.indices[index])

    def shape(self, index: int) -> Shape:
        return self.dataset.shape(self.indices[index])

    def extent(self, index: int) -> Shape:
        return self.dataset.extent(self.indices[index])

    def size(self, index: int) -> dict[str, float] | None:
        return self.dataset.size(self.indices[index])

    def column(self, index: int) -> dict[str, Label]:
        return self.dataset.column(self.indices[index])

    def captions(self, index: int) -> Mapping[str, Sequence[str]]:
        return self.dataset.captions(self.indices[index])

    def beside(
        self, index: int, rng: np.random.Generator | None = None, names: Sequence[str] | None = None
    ) -> Mapping[str, Tensor | None]:
        return self.dataset.beside(self.indices[index], rng, names)

    def mapped(self, index: int) -> Sequence[str]:
        return self.dataset.mapped(self.indices[index])

    def keep_labels(self, index: int) -> bool:
        return self.dataset.keep_labels(self.indices[index])

    def known(self) -> Fields:
        return self.dataset.known()

    def laid_out(self, indices: Sequence[int]) -> Dataset:
        return self.dataset.laid_out([self.indices[i] for i in indices])


def spread(count: int, limit: int | None = None) -> list[int]:
    """At most ``limit`` of the numbers below ``count``, evenly over all of them, the same wherever it is asked.

    Data sets are in the order of their paths, so the first few of one are of one class.

    >>> spread(10, 4)
    [0, 2, 5, 7]
    """
    chosen = count if limit is None else min(limit, count)
    return [i * count // chosen for i in range(chosen)]
