"""A change to a model: what is added to its weights, and to what it can be told. All of it is multiplied by one scale.

    LAYER.lora_A, LAYER.lora_B, LAYER.lora_magnitude     low rank, see ``mmdiff.nn.lora``
    TABLE.rows (n, D)                                    added to the rows of the classes that are new
    TENSOR                                               added to a tensor of a field, or of maps, that are new

Names are those below ``model.trainable``: ``network.blocks.0...``, ``conditioner....``. New rows and tensors are
counted from where ``Conditioner.inherit`` begins them, so that scale 0 is the base.

A change that is a ``branch`` acts on a sample that is told a map, and on no other: see ``mmdiff.nn.branch``.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .adapters.base import Conditioner
from .adapters.controls import presence_channels
from .data.labels import Fields, class_names, is_scalar
from .model import DiffusionModel
from .nn import lora
from .nn.branch import Branched
from .nn.low_rank import Part

ROWS = "rows"


class Change(NamedTuple):
    """A change as it is stored: its tensors, and all that a model with it can be told."""

    tensors: Mapping[str, Tensor]
    fields: Fields
    scale: float = 1.0
    name: str = "the change"
    """What errors call it: its file."""
    branch: bool = False
    """Whether the network is changed where a map is told, and nowhere else."""


class Rows(Part):
    """What is added to the rows ``index`` of a table, as a change of its weight."""

    index: Tensor

    def __init__(self, table: Tensor, index: Sequence[int]):
        super().__init__()
        self.register_buffer("index", torch.tensor(index, device=table.device), persistent=False)
        self.rows = nn.Parameter(table.new_zeros(len(index), table.shape[1]))

    def forward(self, weight: Tensor) -> Tensor:
        return torch.zeros_like(weight).index_copy(0, self.index, self.rows)


def learn(model: DiffusionModel, base: DiffusionModel, rank: int, *, layers: Iterable[str], dora: bool = False) -> None:
    """Let a change of ``model``, which begins as its base, learn and nothing else: low rank in ``layers`` (of
    rank 0: none), and the rows and tensors that the ``base`` has not."""
    conditioner, new = model.conditioner, _new(model, base)
    model.trainable.requires_grad_(False)
    if rank:
        lora.add(model.trainable, rank, where=[name for name in layers if f"{name}.weight" not in new], dora=dora)
    for name, index in _new_rows(conditioner, conditioner.fields, base.conditioner.fields).items():
        table = _table(model, name)
        lora.insert(table, Rows(table.weight.detach(), index), name=ROWS)
    for name, parameter in model.trainable.named_parameters():
        parameter.requires_grad_(parameter.requires_grad or name in new)


def new_tensors(model: DiffusionModel, base: DiffusionModel) -> list[str]:
    """Names of the tables and tensors that hold what the ``base`` was never told."""
    tables = _new_rows(model.conditioner, model.conditioner.fields, base.conditioner.fields)
    return [*(f"{table}.weight" for table in tables), *_new(model, base)]


def tensors_of(model: DiffusionModel, base: DiffusionModel) -> dict[str, Tensor]:
    """The tensors of a change that was made by ``learn``."""
    parts = lora.parts(model.trainable, name=ROWS)
    rows = {f"{name}.{ROWS}": part.rows.detach() for name, part in parts.items() if isinstance(part, Rows)}
    return lora.tensors_of(model.trainable) | rows | _new(model, base)


@torch.no_grad()
def apply(model: DiffusionModel, base: DiffusionModel, changes: Sequence[Change]) -> None:
    """Change the weights of ``model``, which has inherited from its ``base``, for good.

    The bits are those that a change has where it learns. Raises ``ValueError`` naming the change, and the layer, table
    or tensor that is not there, of another width, or missing.
    """
    start, network = model.trainable.state_dict(), None
    for i, change in sorted(enumerate(changes), key=lambda pair: pair[1].branch):
        if change.branch and network is None:                         # what all the others make of it
            network = copy.deepcopy(model.network)
        try:
            _add(model, base, change, start, number=i)
        except ValueError as error:
            raise ValueError(f"{change.name} does not fit its base: {error}") from error
    lora.merge(model.trainable)
    if network is not None:
        lora.merge(network)
        model.denoiser.network = Branched(network, model.network, presence_channels(model.controls))


def _add(
    model: DiffusionModel, base: DiffusionModel, change: Change, start: Mapping[str, Tensor], *, number: int
) -> None:
    """Add one change to the weights, of which ``start`` are the base's."""
    low = {name: value for name, value in change.tensors.items() if name.rpartition(".")[2] in lora.PARTS}
    full = {name: value for name, value in change.tensors.items() if name not in low}
    index = _new_rows(model.conditioner, change.fields, base.conditioner.fields)
    tables = {name: _table(model, name) for name in index}
    new = {name: value for name, value in _new(model, base).items() if name in full}
    rows = {f"{name}.{ROWS}": (len(index[name]), table.embedding_dim) for name, table in tables.items()}
    _fit(_shapes(full), _shapes(new) | rows)
    lora.attach(model.trainable, low, scale=change.scale, name=f"change{number}")
    for name, table in tables.items():
        part = Rows(start[f"{name}.weight"], index[name]).requires_grad_(False)
        part.rows.copy_(full.pop(f"{name}.{ROWS}"))
        lora.insert(table, part, name=f"{ROWS}{number}", scale=change.scale)
    for name, value in full.items():
        start[name].add_(change.scale * value.to(start[name]))


def _table(model: DiffusionModel, name: str) -> nn.Embedding:
    if isinstance(table := model.trainable.get_submodule(name), nn.Embedding):
        return table
    raise ValueError(f"{name} has rows of classes, and is no nn.Embedding but {type(table).__name__}")


def _new(model: DiffusionModel, base: DiffusionModel) -> dict[str, Tensor]:
    """The tensors of fields and maps that the base has not, by their names below ``trainable``."""
    known = base.trainable.state_dict()
    return {name: value for name, value in model.trainable.state_dict().items()
            if name not in known and ".parametrizations." not in name}


def _new_rows(conditioner: Conditioner, fields: Fields, base: Fields) -> dict[str, list[int]]:
    """By name of a table: its rows of the classes that ``fields`` have, and the ``base`` has not."""
    found: dict[str, list[int]] = {}
    for name, known in base.items():
        named = [] if is_scalar(known) else class_names(fields.get(name, ()))
        classes = [value for value in named if value not in known]
        rows = conditioner.rows(name, classes) if classes else {}
        found |= {f"conditioner.{table}": index for table, index in rows.items()}
    return found


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def _fit(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> None:
    for name in dict.fromkeys([*found, *wanted]):
        if name not in wanted:
            raise ValueError(f"its {name} finds no place in this model")
        if name not in found:
            raise ValueError(f"it has new classes, and no {name}")
        if found[name] != wanted[name]:
            raise ValueError(f"its {name} is {found[name]}, this model has {wanted[name]}")
