"""A low-rank change of one weight.

    W = W0 + s_1 D_1 + s_2 D_2 + ...
    LoRA   D = B A,                                 B = 0 at the start                           (Hu et al. 2022, eq. 3)
    DoRA   D = m (W0 + B A) / |W0 + B A| - W0,      m = |W0| at the start; |.| of each row,    (Liu et al. 2024, eq. 5)
                                                    without a gradient of its own

A weight is a matrix (first axis x the rest), so linear layers, convolutions and embeddings are one case. There is no
alpha: the product is the change. W0 is never written, so the base's bits come back, and every D is of the base alone.

What learns is in float32 at least, whatever the precision of W0; W keeps that of W0.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TINY = 1e-12
"""The least length of a row: a row of zeros has a direction only once it is changed."""


class Part(nn.Module, ABC):
    """One change of one weight."""

    @abstractmethod
    def forward(self, weight: Tensor) -> Tensor:
        """D for the base's ``weight``, in its shape."""

    def added(self, changed: Tensor, weight: Tensor, scale: float) -> Tensor:
        """``changed`` + ``scale`` D, for the base's ``weight``."""
        return torch.add(changed, self(weight), alpha=scale)


class LowRank(Part):
    """A product of two matrices; its ``rank`` is cut to what the weight can have."""

    def __init__(self, weight: Tensor, rank: int, *, dora: bool = False):
        super().__init__()
        rows, columns = len(weight), weight[0].numel()
        rank, bound = min(rank, rows, columns), columns**-0.5
        precise = torch.promote_types(weight.dtype, torch.float32)
        self.a = nn.Parameter(weight.new_empty(rank, columns, dtype=precise).uniform_(-bound, bound))
        self.b = nn.Parameter(weight.new_zeros(rows, rank, dtype=precise))
        self.magnitude = nn.Parameter(lengths(weight.detach().to(precise))) if dora else None

    @property
    def learns(self) -> bool:
        """Whether a gradient is asked for."""
        return torch.is_grad_enabled() and self.a.requires_grad

    def forward(self, weight: Tensor) -> Tensor:
        """As ``Part.forward``, in the precision of the weight also under autocast."""
        with torch.autocast(weight.device.type, enabled=False):
            product = (self.b @ self.a).view_as(weight)
            if self.magnitude is None:
                return product
            turned = weight + product
            gain = self.magnitude / lengths(turned.detach())
            return gain.view(-1, *(1,) * (weight.ndim - 1)) * turned - weight

    def added(self, changed: Tensor, weight: Tensor, scale: float) -> Tensor:
        """As ``Part.added``; a product in one pass over the weight, as small layers cost little more than that."""
        if self.magnitude is not None:
            return super().added(changed, weight, scale)
        with torch.autocast(weight.device.type, enabled=False):
            return torch.addmm(changed.to(self.a.dtype).flatten(1), self.b, self.a, alpha=scale).view_as(weight)

    def through(self, x: Tensor, base: Tensor, bias: Tensor | None, weight: Callable[[], Tensor]) -> Tensor:
        """D x for ``x`` ``(..., columns)``, where the layer unchanged gives ``base = W0 x + bias`` ``(..., rows)``;
        W0 itself, which may have to be computed, is asked for where lengths need it."""
        product = F.linear(F.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype))      # nothing as large as x in float32
        if self.magnitude is None:
            return product
        plain = base if bias is None else base - bias
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            length = lengths(weight() + self.b @ self.a)
        return self.magnitude / length * (plain + product) - plain


class Changed(nn.Module):
    """A weight with all its changes, by name: the parametrization of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self._parts = nn.ModuleDict()
        self.scales: dict[str, float] = {}

    @property
    def parts(self) -> dict[str, Part]:
        """The changes, in the order in which they are added up."""
        return {name: cast(Part, part) for name, part in self._parts.items()}

    def forward(self, weight: Tensor) -> Tensor:
        changed = weight
        for name, part in self.parts.items():
            if self.scales[name]:
                changed = part.added(changed, weight, self.scales[name])
        return changed.to(weight.dtype)


def lengths(weight: Tensor) -> Tensor:
    """The length ``(rows,)`` of each row of a weight."""
    return torch.linalg.vector_norm(weight.flatten(1), dim=1).clamp(min=TINY)
