"""Networks with low-rank changes (``mmdiff.nn.low_rank``): which layers have them, and how they come and go.

A linear layer of ``LARGE`` or more weights, or of weights in 16 or 8 bits, computes W0 x + s B (A x) while A and B
learn: so neither W nor its gradient takes memory, and no small change is lost as W is rounded. All else computes with
W. The two agree to rounding; the layer's output keeps the precision of W0.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from . import rows
from .low_rank import Changed, LowRank, Part
from .rows import in_rows

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Embedding
"""What can be changed."""
PARTS = {"lora_A": "a", "lora_B": "b", "lora_magnitude": "magnitude"}
"""How the tensors of a layer end in a file, and what they are here."""
LARGE = 2**22
"""Weights of a layer of which no copy and no gradient is made: those of models of a billion parameters have so many."""
HALF = (torch.bfloat16, torch.float16)


def layers(module: nn.Module) -> dict[str, Layer]:
    """The layers that can be changed, by name."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, Layer)}


def add(
    module: nn.Module, rank: int, *, where: Iterable[str] | None = None, dora: bool = False, name: str = "change"
) -> list[str]:
    """Give the layers ``where`` (default: all) a change that learns, and freeze all else; gives their names.

    Raises ``ValueError`` for a rank below 1, and where there is no such layer.
    """
    if rank < 1:
        raise ValueError(f"the rank is at least 1, got {rank}")
    found = layers(module)
    chosen = list(found if where is None else where)
    if not chosen or (missing := [layer for layer in chosen if layer not in found]):
        raise ValueError(
            f"{type(module).__name__} has no layer {missing[0] if chosen else ''!r} that can be changed: "
            f"{', '.join(kind.__name__ for kind in get_args(Layer))} can"
        )
    module.requires_grad_(False)
    added = {layer: LowRank(_free(found[layer], layer, name), rank, dora=dora) for layer in chosen}
    for layer, part in added.items():
        insert(found[layer], part, name=name)
    return chosen


def attach(module: nn.Module, tensors: Mapping[str, Tensor], *, scale: float = 1.0, name: str = "change") -> None:
    """Give layers the change that ``tensors`` hold, named as by ``tensors_of``; it does not learn.

    Raises ``ValueError`` with a count and the first name where a layer is not there, of another width, or incomplete.
    """
    found, by_layer = layers(module), _by_layer(tensors)
    if missing := [layer for layer in by_layer if layer not in found]:
        raise ValueError(f"{len(missing)} of {len(by_layer)} changed layers are not in this network, such as "
                         f"{missing[0]}")
    attached = {layer: _part(layer, _free(found[layer], layer, name), by_layer[layer]) for layer in by_layer}
    for layer, part in attached.items():
        insert(found[layer], part, name=name, scale=scale)


def tensors_of(module: nn.Module, *, name: str = "change") -> dict[str, Tensor]:
    """The tensors of a change: ``LAYER.lora_A`` ``(rank, columns)``, ``LAYER.lora_B`` ``(rows, rank)`` and, for DoRA,
    ``LAYER.lora_magnitude`` ``(rows,)``."""
    return {
        f"{layer}.{ending}": value.detach()
        for layer, part in parts(module, name=name).items()
        for ending, attribute in PARTS.items() if (value := getattr(part, attribute)) is not None
    }


def parts(module: nn.Module, *, name: str = "change") -> dict[str, Part]:
    """What computes a change, by layer."""
    return {layer: changed.parts[name] for layer, changed in _changed(module).items() if name in changed.parts}


def rescale(module: nn.Module, scale: float, *, name: str = "change") -> None:
    """Set the scale of a change; 0 is the base, to the bit."""
    for changed in _changed(module).values():
        if name in changed.scales:
            changed.scales[name] = scale


def merge(module: nn.Module) -> None:
    """Make every changed weight a plain one of the same bits; those in 8 bits, which have no place for what is added,
    stay as they are with it beside them."""
    for layer in _changed_layers(module):
        if not in_rows(layer):
            with torch.no_grad():
                _restore(layer, nn.Parameter(layer.weight, requires_grad=_base(layer).requires_grad))


def remove(module: nn.Module) -> None:
    """Take all changes away: the weights are the base's again."""
    for layer in _changed_layers(module):
        if in_rows(layer):
            del cast(Any, layer).parametrizations.weight[-1]
        else:
            _restore(layer, cast(nn.Parameter, _base(layer)))


def _changes(layer: Any) -> Changed | None:
    """The changes of a layer's weight, where it has any."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    last = layer.parametrizations.weight[-1]
    return last if isinstance(last, Changed) else None


def _changed(module: nn.Module) -> dict[str, Changed]:
    found = {name: _changes(layer) for name, layer in layers(module).items()}
    return {name: changed for name, changed in found.items() if changed is not None}


def _changed_layers(module: nn.Module) -> list[Layer]:
    return [layer for layer in layers(module).values() if _changes(layer) is not None]


def _base(layer: Any) -> Tensor:
    """The weight of the base."""
    if in_rows(layer):
        return rows.weight(layer)
    return layer.weight if _changes(layer) is None else layer.parametrizations.weight.original


def _free(layer: Layer, name: str, change: str) -> Tensor:
    """The base's weight of a layer. Raises ``ValueError`` where that cannot be given a ``change``."""
    changed = _changes(layer)
    if changed is None and parametrize.is_parametrized(layer) and not in_rows(layer):
        raise ValueError(f"the parameters of {name} are computed by another parametrization: they cannot be changed")
    if changed is not None and change in changed.parts:
        raise ValueError(f"{name} has a change {change!r} already")
    return _base(layer)


def insert(layer: nn.Module, part: Part, *, name: str = "change", scale: float = 1.0) -> None:
    """Add what ``part(W0)`` gives to the weight of a layer."""
    if (changed := _changes(layer)) is None:
        plain = type(layer) is nn.Linear or (isinstance(layer, nn.Linear) and in_rows(layer))
        changed = Changed()
        parametrize.register_parametrization(layer, "weight", changed, unsafe=True)
        if plain:
            cast(Any, type(layer)).forward = _linear                  # of a class that is this layer's own
    changed._parts[name], changed.scales[name] = part, scale


def _linear(self: nn.Linear, x: Tensor) -> Tensor:
    """The forward pass of a changed linear layer, and of one in 8 bits that a copy of it was changed of."""
    if (changed := _changes(self)) is None:
        return rows.linear(self, x)
    low = {name: part for name, part in changed.parts.items() if isinstance(part, LowRank)}
    few = not in_rows(self) and _base(self).numel() < LARGE and _base(self).dtype not in HALF
    if few or len(low) < len(changed.parts) or not any(p.learns for p in low.values()):
        return F.linear(x, self.weight, self.bias)
    base = out = rows.linear(self, x) if in_rows(self) else F.linear(x, _base(self), self.bias)
    for name, part in low.items():
        if changed.scales[name]:
            out = torch.add(out, part.through(x, base, self.bias, partial(_base, self)), alpha=changed.scales[name])
    return out.to(base.dtype)


def _restore(layer: Any, weight: nn.Parameter) -> None:
    """Make a layer what it was, with ``weight``; a copy that shares its class keeps its changes."""
    del layer.parametrizations
    layer.__class__ = type(layer).__bases__[0]
    rest = dict(layer._parameters)
    layer._parameters.clear()
    layer.weight = weight                                             # before the bias, as it was
    layer._parameters.update(rest)


def _by_layer(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, ending = name.rpartition(".")
        if ending not in PARTS:
            raise ValueError(f"{name} is no part of a low-rank change: those end in {', '.join(PARTS)}")
        found.setdefault(layer, {})[PARTS[ending]] = tensor
    return found


def _part(layer: str, weight: Tensor, tensors: Mapping[str, Tensor]) -> LowRank:
    """The change of one layer. Raises ``ValueError`` where it does not fit the weight."""
    rows, columns = len(weight), weight[0].numel()
    if missing := [ending for ending, part in PARTS.items() if part != "magnitude" and part not in tensors]:
        raise ValueError(f"{layer} has no {missing[0]}")
    rank = len(tensors["a"]) if tensors["a"].ndim else 0
    wanted: dict[str, tuple[int, ...]] = {"a": (rank, columns), "b": (rows, rank), "magnitude": (rows,)}
    for attribute, tensor in tensors.items():
        if tuple(tensor.shape) != wanted[attribute]:
            raise ValueError(
                f"{layer} has {rows} x {columns} weights here: its {attribute} of rank {rank} is {wanted[attribute]}, "
                f"got {tuple(tensor.shape)}"
            )
    part = LowRank(weight, rank, dora="magnitude" in tensors)
    values: dict[str, Any] = {attribute: tensor.to(getattr(part, attribute)) for attribute, tensor in tensors.items()}
    for attribute, tensor in values.items():
        setattr(part, attribute, nn.Parameter(tensor.clone()))
    return part.requires_grad_(False)
