"""The values that every part of mmdiff exchanges.

    x_t = alpha(t) x0 + sigma(t) eps,     t in [0, 1],  0 = data, 1 = noise

Shapes: ``x0`` is ``(B, C, *S)`` with ``*S`` = ``T`` mel frames, ``T H W`` for video, ``N`` points.
A time is ``(B,)``, or ``(B, T)`` where a modality has a level per frame.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Level(NamedTuple):
    """Signal and noise amplitudes of one time (or, from ``Schedule.slope``, their derivatives in t)."""

    alpha: Tensor
    sigma: Tensor


class Masked(NamedTuple):
    """A padded batch: ``x`` ``(B, C, *S)`` and ``mask`` ``(B, 1, *S)`` bool, True where real; None if all is real."""

    x: Tensor
    mask: Tensor | None = None

    @property
    def zeroed(self) -> "Masked":
        """The same, zero where nothing is real."""
        return self if self.mask is None else Masked(torch.where(self.mask, self.x, 0), self.mask)


class Condition(NamedTuple):
    """What a network is told: a closed vocabulary, each part optional.

    ``vector`` ``(B, D)``; ``tokens`` ``(B, L, D)`` with ``tokens_mask`` ``(B, L)`` bool, True = real;
    ``concat`` ``(B, C', *S)`` read beside the latent, position by position: zero where nothing is told, as is None.
    """

    vector: Tensor | None = None
    tokens: Tensor | None = None
    tokens_mask: Tensor | None = None
    concat: Tensor | None = None

    def padded(self, length: int) -> "Condition":
        """The same with ``length`` tokens, those that are added masked."""
        if self.tokens is None:
            return self
        more = length - self.tokens.shape[1]
        mask = self.tokens.new_ones(self.tokens.shape[:2], dtype=torch.bool)
        mask = mask if self.tokens_mask is None else self.tokens_mask
        return self._replace(tokens=F.pad(self.tokens, (0, 0, 0, more)), tokens_mask=F.pad(mask, (0, more)))

    @staticmethod
    def cat(conditions: Sequence["Condition"]) -> "Condition":
        """Join along the batch; vector and tokens must be present in all or in none. Tokens are padded to the longest,
        maps with zeros."""
        lengths = [c.tokens.shape[1] for c in conditions if c.tokens is not None]
        if len(set(lengths)) > 1 or len({c.tokens_mask is None for c in conditions}) > 1:
            conditions = [c.padded(max(lengths, default=0)) for c in conditions]
        maps = [c.concat for c in conditions if c.concat is not None]
        if maps:
            conditions = [c._replace(concat=_blank(c, maps[0])) if c.concat is None else c for c in conditions]
        parts = {}
        for name in Condition._fields:
            values = [getattr(c, name) for c in conditions]
            given = [v is not None for v in values]
            if any(given) != all(given):
                raise ValueError(f"conditions cannot be joined: {name!r} is given in some and missing in others")
            parts[name] = torch.cat(values) if all(given) else None
        return Condition(**parts)


def _blank(condition: Condition, like: Tensor) -> Tensor:
    """The ``concat`` of a condition in which none is told; one of nothing at all is of as many samples as ``like``."""
    known = next((part for part in condition if part is not None), like)
    return like.new_zeros(len(known), *like.shape[1:])


Denoise = Callable[[Tensor, Tensor], Tensor]
"""``(x_t (B, C, *S), t (B,) or (B, T)) -> x0 (B, C, *S)``: all that a sampler knows of a model."""


def expand(value: Tensor, like: Tensor) -> Tensor:
    """Give ``(B,)`` or ``(B, T)`` the rank of ``like`` ``(B, C, T, ...)`` so that it broadcasts over the rest."""
    if value.ndim == 2:
        value = value.unsqueeze(1)                                    # (B, 1, T)
    return value.reshape(value.shape + (1,) * (like.ndim - value.ndim))


def blend(a: Tensor, x: Tensor, b: Tensor, y: Tensor) -> Tensor:
    """``a x + b y`` in two operations of the size of ``x``; ``a`` and ``b`` broadcast."""
    return torch.addcmul(a * x, b, y)
