"""How far what a codec gives back is from what it was given: terms of a loss, one number a sample.

    Absolute      mean |y - x|
    Squared       mean (y - x)^2
    Gradient      mean |d y - d x|,   d = differences of neighbours along each axis: edges, which blur costs little else
"""

from abc import ABC, abstractmethod
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor

from ..core.types import Masked
from .base import Codec

Factor = Annotated[float, Gt(0)]


class ReconstructionLoss(ABC):
    """A term of the loss of a codec, times ``weight``."""

    digest: str = ""
    """The hash of the weights of the file that it learns through, once it is open: a run goes on with no other."""

    def __init__(self, *, weight: Factor = 1.0):
        self.weight = weight

    def check(self, axes: int) -> None:
        """Raise ``ValueError`` where samples of a grid of so many axes (0: sets, which have none) cannot be compared
        so: grids are, position by position, unless a term says otherwise."""
        if not axes:
            raise ValueError(f"{type(self).__name__} compares each position with the same one, and sets have none: "
                             "take reconstruction=shapes")

    def open(self, base: Codec) -> None:  # noqa: B027
        """Open what only training needs, for samples of the modality ``base``: nothing, unless a term says otherwise.
        Raises ``ValueError`` for a file that cannot be used."""

    @abstractmethod
    def __call__(self, output: Masked, real: Masked) -> Tensor:
        """``(B,)`` of what was made of samples ``(B, C, *S)``, both with the mask of what is real."""


class Absolute(ReconstructionLoss):
    """Mean absolute error."""

    def __call__(self, output: Masked, real: Masked) -> Tensor:
        return mean((output.x - real.x).abs(), real.mask)


class Squared(ReconstructionLoss):
    """Mean squared error: small things on a plain ground are learned soon by it, by the absolute error late."""

    def __call__(self, output: Masked, real: Masked) -> Tensor:
        return mean((output.x - real.x).square(), real.mask)


class Gradient(ReconstructionLoss):
    """Mean absolute error of the differences between neighbours, along every axis that is longer than 1."""

    def __call__(self, output: Masked, real: Masked) -> Tensor:
        found, error = [], output.x - real.x
        for axis in range(2, error.ndim):
            if error.shape[axis] > 1:
                both = None if real.mask is None else _first(real.mask, axis) & _last(real.mask, axis)
                found.append(mean(error.diff(dim=axis).abs(), both))
        return torch.stack(found).mean(0)


def mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """``(B,)``: the mean of ``(B, C, *S)`` over what is real."""
    if mask is None:
        return x.flatten(1).mean(1)
    real = mask.expand_as(x)
    return torch.where(real, x, 0).flatten(1).sum(1) / real.flatten(1).sum(1).clamp(min=1)


def _first(x: Tensor, axis: int) -> Tensor:
    return x.narrow(axis, 0, x.shape[axis] - 1)


def _last(x: Tensor, axis: int) -> Tensor:
    return x.narrow(axis, 1, x.shape[axis] - 1)
