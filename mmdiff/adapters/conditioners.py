"""Labels to conditions.

    vector = sum over fields of  E_class[label]  or  W [value, cos(2 pi k value), sin(2 pi k value)],  k = 1 .. K

A field that is not told (class -1, scalar NaN) has an embedding of its own; classifier-free guidance contrasts a
condition with the one in which nothing is told.
"""

import math
from functools import reduce

import torch
from torch import Tensor, nn

from ..core.types import Condition
from ..data.labels import Fields, is_scalar, part_name
from ..nn.tensors import place
from .base import Conditioner


class Labels(Conditioner):
    """Any number of class and scalar fields at once.

    ``drop`` is the probability that a training sample is told nothing, ``drop_each`` that, besides, any one field is
    hidden on its own: what guidance and partial requests need.
    """

    def __init__(
        self, fields: Fields, *, dim: int = 256, drop: float = 0.1, drop_each: float = 0.0, frequencies: int = 8
    ):
        super().__init__()
        if not (0 <= drop < 1 and 0 <= drop_each < 1):
            raise ValueError(f"drop and drop_each are probabilities below 1, got {drop} and {drop_each}")
        self.fields: Fields = {name: (*field,) for name, field in fields.items()}
        self.dim, self.drop_all, self.drop_each = (dim if fields else 0), drop, drop_each
        self.dropped = 1 - (1 - drop) * (1 - drop_each ** len(self.fields)) if self.fields else None
        self.frequencies = frequencies
        self.embeddings = nn.ModuleDict({
            part_name(name): nn.Linear(2 * frequencies + 1, dim) if is_scalar(field)
            else nn.Embedding(len(field) + 1, dim)
            for name, field in self.fields.items()
        })
        self.untold = nn.ParameterDict({
            part_name(name): nn.Parameter(torch.randn(dim)) for name, field in self.fields.items() if is_scalar(field)
        })

    def forward(self, labels: dict[str, Tensor]) -> Condition:
        """``(B,)`` labels of every field -> ``Condition.vector`` ``(B, dim)``."""
        if not self.fields:
            return Condition()
        parts = [
            self._scalar(name, labels[name]) if is_scalar(field)
            else self.embeddings[part_name(name)](labels[name] % (len(field) + 1))     # -1, not told, is the last row
            for name, field in self.fields.items()
        ]
        return Condition(vector=reduce(torch.add, parts))                   # in order: a part of zeros changes no bit

    @torch.no_grad()
    def inherit(self, base: Conditioner) -> None:
        """As ``Conditioner.inherit``; new classes start as the mean of the base's, a new field as zero."""
        tensors = base.state_dict()
        for name, field in self.fields.items():
            part = part_name(name)
            if name not in base.fields:
                own = {key: value for key, value in self.state_dict().items() if key.split(".")[1] == part}
                tensors |= {key: torch.zeros_like(value) for key, value in own.items()}
            elif not is_scalar(field) and (new := len(field) - len(base.fields[name])):
                table = tensors[key := f"embeddings.{part}.weight"]
                mean = table[:-1].mean(0, keepdim=True).expand(new, -1)
                tensors[key] = torch.cat([table[:-1], mean, table[-1:]])    # the last row is "not told"
        place(self, tensors)

    def _scalar(self, name: str, value: Tensor) -> Tensor:
        low, high = map(float, self.fields[name])
        unit = ((value - low) / ((high - low) or 1.0)).nan_to_num(0.0)          # one value alone has no range
        angle = 2 * math.pi * unit[:, None] * torch.arange(1, self.frequencies + 1, device=unit.device) / 2
        told = self.embeddings[part_name(name)](torch.cat([unit[:, None], angle.cos(), angle.sin()], 1))
        return torch.where(value.isnan()[:, None], self.untold[part_name(name)].to(told.dtype), told)

    def null(self, batch: int) -> Condition:
        """The condition in which no field is told."""
        device = next(self.parameters()).device if self.fields else None
        return self({name: self._untold(name, batch, device) for name in self.fields})

    def hide(self, labels: dict[str, Tensor], u: Tensor) -> dict[str, Tensor]:
        """Drop labels for training; ``u`` ``(B, 1 + fields)`` is uniform in (0, 1)."""
        u = u.to(next(iter(labels.values())).device) if labels else u
        return {
            name: torch.where((u[:, 0] < self.drop_all) | (u[:, 1 + i] < self.drop_each), self._untold(name), value)
            for i, (name, value) in enumerate(labels.items())
        }

    def _untold(self, name: str, batch: int | None = None, device: torch.device | None = None) -> Tensor:
        value = torch.tensor(math.nan) if is_scalar(self.fields[name]) else torch.tensor(-1)
        return value if batch is None else value.expand(batch).to(device)
