"""Comparing tensors, in words for the person whose tensors differ."""

from typing import Any

import torch
from torch import Tensor

from ..core.types import Condition
from ..data.labels import Column


def kind(x: Tensor) -> str:
    """Shape and type."""
    return f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}"


def box(inner: tuple[int, ...], outer: tuple[int, ...]) -> Tensor:
    """``(*outer)`` bool, True in the corner ``(*inner)``."""
    mask = torch.zeros(outer, dtype=torch.bool)
    mask[tuple(slice(n) for n in inner)] = True
    return mask


def corner(x: Tensor, extent: tuple[int, ...]) -> Tensor:
    """The view ``(..., *extent)`` at the start of the last axes."""
    box: tuple[Any, ...] = (..., *(slice(n) for n in extent))
    return x[box]


def same(found: Tensor, wanted: Tensor, fault: str, *, tolerance: float = 1e-3) -> None:
    """Raise ``AssertionError`` where they differ by more than ``tolerance`` of the largest value."""
    assert found.shape == wanted.shape, f"{fault}: {kind(found)} instead of {kind(wanted)}"
    found, wanted = found.detach(), wanted.detach()
    worst = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12))
    assert worst <= tolerance, f"{fault}, by {worst:.2g} of the largest value"


def same_labels(a: Column, b: Column) -> bool:
    """Whether two columns of labels are alike; NaN, not told, is like NaN."""
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return a == b
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())


def double(cond: Condition) -> Condition:
    """In float64, masks as they are."""
    return Condition(*(part.double() if part is not None and part.is_floating_point() else part for part in cond))
