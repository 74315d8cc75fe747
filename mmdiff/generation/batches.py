"""Requests in micro-batches: those of one size, whatever files they start from or follow, each file encoded once.

The last of a size is filled up by repetition, so an item is the same to the last bit whatever else is asked for.
"""

import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from ..data.labels import Label
from ..model import LabelOrMap
from .edits import Edit, EncodedEdit, Way
from .references import Reference, errors_named
from .request import Request

if TYPE_CHECKING:
    from .pipeline import Pipeline


class MicroBatch(NamedTuple):
    """``positions`` of what is new in it, the ``requests`` of all rows, and what they are made with."""

    positions: list[int]
    requests: list[Request]
    size: dict[str, float]
    labels: list[dict[str, LabelOrMap]]
    """With the maps of files that are followed."""
    edits: list[EncodedEdit]
    """What they start from; none, or of every row."""

    @property
    def seeds(self) -> list[int]:
        """Of all rows."""
        return [request.seed for request in self.requests]

    @property
    def negative(self) -> list[dict[str, Label]]:
        """What all rows keep away from."""
        return [request.negative for request in self.requests]


def micro_batches(pipeline: "Pipeline", requests: Sequence[Request], batch_size: int) -> Iterator[MicroBatch]:
    """Those of a job. Raises ``ValueError`` for what cannot be made, before the first."""
    model, sizes = pipeline.model, [tuple(sorted(pipeline.size_of(request).items())) for request in requests]
    for size in dict.fromkeys(sizes):
        if foreign := set(dict(size)) - set(inspect.signature(model.codec.latent_shape).parameters):
            raise ValueError(f"samples of this model have no {foreign.pop()}=; their size is {dict(pipeline.size)}")
        model.codec.latent_shape(**dict(size))
    window = model.codec.latent_shape(**pipeline.size)[0]
    edits: dict[tuple[Any, Edit], EncodedEdit] = {}
    maps: dict[tuple[Any, str, Reference], Tensor] = {}
    groups: dict[tuple[Any, Way | None], list[int]] = {}
    for i, (size, request) in enumerate(zip(sizes, requests, strict=True)):
        if (edit := request.edit) is not None and (size, edit) not in edits:
            edits[size, edit] = EncodedEdit.of(edit, model.codec, dict(size), window, device=model.device)
        for name, file in request.references.items():
            if (size, name, file) not in maps:
                with errors_named(name, file):
                    maps[size, name, file] = file.map(name, model, dict(size)).cpu()
        groups.setdefault((size, None if edit is None else edits[size, edit].way), []).append(i)
    for (size, _), members in groups.items():
        for k in range(0, len(members), batch_size):
            part = members[k : k + batch_size]
            rows = [requests[part[i % len(part)]] for i in range(batch_size)]
            labels: list[dict[str, LabelOrMap]] = [
                {**row.labels, **{name: maps[size, name, file] for name, file in row.references.items()}}
                for row in rows
            ]
            given = [edits[size, row.edit] for row in rows if row.edit is not None]
            yield MicroBatch(part, rows, dict(size), labels, given)
