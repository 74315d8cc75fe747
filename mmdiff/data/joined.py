"""Data sets of data sets: two of which every step has its share, and one whose samples are all of one subject."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from .dataset import Dataset, Subset
from .labels import TEXT, Fields, Label, grown, is_scalar, is_text, suggest, text
from .stream import Shape


class Joined(Dataset):
    """Two data sets as one: the ``second`` has a ``share`` of every training step, however many samples each has.

    What is untold is learned of the second alone: all of the first is told.

    Raises ``ValueError`` where only one of them gives features.
    """

    def __init__(self, first: Dataset, second: Dataset, *, share: float):
        if first.encoded != second.encoded:
            raise ValueError("samples and features cannot be joined: encode the samples")
        self.both, self.share, self.encoded, self.consent = (first, second), share, first.encoded, first.consent
        self.fields = grown(first.fields, second.fields)
        self.maps = tuple(dict.fromkeys([*first.maps, *second.maps]))

    def __len__(self) -> int:
        return sum(map(len, self.both))

    def keep_labels(self, index: int) -> bool:
        return index < len(self.both[0])

    def shares(self) -> Sequence[tuple[int, float]]:
        return [(len(self.both[0]), 1 - self.share), (len(self.both[1]), self.share)]

    def _at(self, index: int) -> tuple[Dataset, int]:
        count = len(self.both[0])
        return (self.both[0], index) if index < count else (self.both[1], index - count)

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        part, local = self._at(index)
        return part.read(local, rng)

    def name(self, index: int) -> str:
        part, local = self._at(index)
        return part.name(local)

    def shape(self, index: int) -> Shape:
        part, local = self._at(index)
        return part.shape(local)

    def extent(self, index: int) -> Shape:
        part, local = self._at(index)
        return part.extent(local)

    def size(self, index: int) -> dict[str, float] | None:
        part, local = self._at(index)
        return part.size(local)

    def column(self, index: int) -> dict[str, Label]:
        part, local = self._at(index)
        return part.column(local)

    def beside(
        self, index: int, rng: np.random.Generator | None = None, names: Sequence[str] | None = None
    ) -> Mapping[str, Tensor | None]:
        part, local = self._at(index)
        return {**dict.fromkeys(self.maps if names is None else names), **part.beside(local, rng, names)}

    def mapped(self, index: int) -> Sequence[str]:
        part, local = self._at(index)
        return part.mapped(local)

    def captions(self, index: int) -> Mapping[str, Sequence[str]]:
        part, local = self._at(index)
        return part.captions(local)


class SubjectDataset(Subset):
    """The samples of a data set, told as those of one subject: a class of ``field``, or the first word of its texts."""

    def __init__(self, dataset: Dataset, field: str, name: str, *, texts: bool = False):
        super().__init__(dataset, range(len(dataset)))
        self.field, self.subject, self.texts = field, name, texts
        self.fields = {**dataset.fields, field: TEXT if texts else [name]}

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        sample, labels = super().read(index, rng)
        return sample, self._labels(labels)

    def column(self, index: int) -> dict[str, Label]:
        return self._labels(super().column(index))

    def captions(self, index: int) -> Mapping[str, Sequence[str]]:
        found = super().captions(index)
        return {**found, self.field: [*map(self._caption, found.get(self.field) or [""])]} if self.texts else found

    def report(self) -> dict:
        return self.dataset.report()

    def _labels(self, labels: Mapping[str, Label]) -> dict[str, Label]:
        label = self._caption(str(labels.get(self.field) or "")) if self.texts else self.subject
        return {**labels, self.field: label}

    def _caption(self, caption: str) -> str:
        if re.search(rf"(?<!\w){re.escape(self.subject)}(?!\w)", caption):
            return caption
        return f"{self.subject}, {caption}" if caption else self.subject


def with_subject(dataset: Dataset, subject: str | None, known: Fields) -> Dataset:
    """The data, told as those of the ``subject`` of a run, if it has one; ``known`` is what its model can be told."""
    if subject is None:
        return dataset
    field, name, texts = subject_of(subject, dataset.fields, known)
    return SubjectDataset(dataset, field, name, texts=texts)


def subject_of(wanted: str, found: Fields, known: Fields) -> tuple[str, str, bool]:
    """The field and the name of a subject, and whether the field is a text. ``wanted`` is NAME or FIELD:NAME; ``found``
    is what data tell of their samples, ``known`` what the model can be told.

    Of itself it is the field in which the data say NAME already, or the one field of classes of which they say nothing,
    or else the one of texts. Raises ``ValueError`` where that is not one, or where the data say something else.
    """
    field, colon, name = wanted.partition(":")
    classes = [one for one, there in known.items() if not (is_scalar(there) or is_text(there))]
    texts = [one for one, there in known.items() if is_text(there)]
    if not colon:
        name = wanted
        said = [one for one in classes if one in found and list(found[one]) == [text(name)]]
        options = said or [one for one in classes if one not in found] or texts
        if len(options) != 1:
            why = f"it could be {' or '.join(options)}" if options else f"the data tell {', '.join(found) or 'nothing'}"
            first = (options or classes or ["FIELD"])[0]
            raise ValueError(f"subject={wanted}: which field of the model is it of? {why}; name that too, such as "
                             f"subject={first}:{name}")
        field = options[0]
    elif field not in (*classes, *texts):
        raise ValueError(f"subject={wanted}: the model has no field {field!r} of classes or texts; "
                         f"{suggest(field, [*classes, *texts])}")
    if not (name := text(name).strip()):
        raise ValueError(f"subject={wanted} has no name: it is NAME or FIELD:NAME")
    if field in classes and field in found and list(found[field]) != [name]:
        raise ValueError(f"subject={wanted}: the data say that {field} is {', '.join(map(str, found[field][:3]))}; "
                         "leave that out of data.labels, or subject= out")
    return field, name, field in texts
