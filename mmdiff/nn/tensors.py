"""Tensors by name, and whether each finds its place; sizes that are filled up; modules without their weights."""

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Size, Tensor, nn


def misplaced(expected: Mapping[str, Size], found: Mapping[str, Size]) -> list[str]:
    """Names that only one of both has, or with another shape."""
    return [name for name in dict.fromkeys([*expected, *found]) if expected.get(name) != found.get(name)]


def extent(shape: Size | None) -> str:
    """A shape in words.

    >>> extent(Size([3, 4])), extent(Size([])), extent(None)
    ('3 x 4', 'one number', 'none')
    """
    return "none" if shape is None else " x ".join(map(str, shape)) or "one number"


def round_up(size: int, step: int) -> int:
    """The least multiple of ``step`` that holds ``size``; written so that an export of any size sees one.

    >>> whole(7, 4), whole(8, 4)
    (8, 8)
    """
    return (size + step - 1) // step * step


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, Size]:
    """The shape of each."""
    return {name: value.shape for name, value in tensors.items()}


def inherit(module: nn.Module, base: nn.Module) -> None:
    """Start with the weights of ``base``, as the module itself says where it can grow, and else with every one.

    Raises ``ValueError`` where a tensor finds no place.
    """
    hook = getattr(module, "inherit", None)
    if hook is None:
        load_tensors(module, base.state_dict())
    else:
        hook(base)


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy ``tensors`` into a module. Raises ``ValueError`` with count and first name where one finds no place, or a
    place no tensor."""
    expected, found = shapes(module.state_dict()), shapes(tensors)
    if differ := misplaced(expected, found):
        name = differ[0]
        raise ValueError(f"{len(differ)} of {len({**expected, **found})} tensors find no place, such as {name} "
                         f"({extent(found.get(name))} given, {extent(expected.get(name))} here)")
    module.load_state_dict(tensors)


def outlined(module: nn.Module, *, shared: Iterable[Tensor] = ()) -> nn.Module:
    """A copy whose parameters and buffers take no memory, but for those that are ``shared`` with it."""
    empty = {id(t): torch.empty(t.shape, dtype=t.dtype, device="meta") for t in module.buffers()}
    empty |= {id(p): nn.Parameter(torch.empty(p.shape, dtype=p.dtype, device="meta"), requires_grad=False)
              for p in module.parameters()}
    return copy.deepcopy(module, empty | {id(tensor): tensor for tensor in shared})
