"""Requests in micro-batches: those of one size, whatever files they start from or follow, each file encoded once.

The last of a size is filled up by repetition, so an item is the same to the last bit whatever else is asked for.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from ..cache.inputs import kept
from ..data.labels import Label
from ..model import LabelOrMap
from .edits import Edit, EncodedEdit, Known, Way
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
            given = _known(pipeline, edit, dict(size))
            edits[size, edit] = EncodedEdit.of(edit, given, window)
        for name, file in request.references.items():
            if (size, name, file) not in maps:
                with errors_named(name, file):
                    maps[size, name, file] = _map(pipeline, name, file, dict(size))
        groups.setdefault((size, None if edit is None else edits[size, edit].way), []).append(i)
    for (size, _), members in groups.items():
        for k in range(0, len(members), batch_size):
            part = members[k : k + batch_size]
            rows = [requests[part[i % len(part)]] for i in range(batch_size)]
            labels: list[dict[str, LabelOrMap]] = [
                {**row.labels, **{name: maps[size, name, file] for name, file in row.references.items()}}
                for row in rows
            ]
            placed = [edits[size, row.edit] for row in rows if row.edit is not None]
            yield MicroBatch(part, rows, dict(size), labels, placed)


def _known(pipeline: "Pipeline", edit: Edit, size: dict[str, float]) -> Known:
    """What an edit gives of its input, on the CPU."""
    model = pipeline.model

    def make() -> dict[str, Tensor]:
        return edit.known(model.codec, size, device=model.device)._asdict()

    return Known(**_kept(pipeline, ["edit", edit.facts, size], make))


def _map(pipeline: "Pipeline", name: str, file: Reference, size: dict[str, float]) -> Tensor:
    """The map of a file that is followed, on the CPU."""
    told = ["map", name, file.facts, size]
    return _kept(pipeline, told, lambda: {"map": file.map(name, pipeline.model, size)})["map"]


def _kept(pipeline: "Pipeline", told: list[Any], make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What is made of a file, kept where the weights that make it have a name: while they learn they have none."""
    if pipeline.header["sha256"] is None:
        return {name: tensor.cpu() for name, tensor in make().items()}
    return kept([pipeline.computing.key, pipeline.model.device.type, *told], make)
