"""Weights that are somebody else's: a network works with them, and they are no part of what it has learned.

    hold(network)      its tensors of now never learn, and are left out of its state: of model files, checkpoints and
                       comparisons of both. What is added later (a low-rank change, say) is in it
    sharing(module)    the same module once more, its tensors shared

A held tensor that is replaced (a change was merged into it, a file brings another) is the network's own from then on.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypeVar, cast

from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)
FROZEN = "_frozen"


def freeze(module: nn.Module) -> None:
    """Make all that ``module`` has now somebody else's."""
    setattr(module.requires_grad_(False), FROZEN, list(module.state_dict(keep_vars=True).values()))
    module.register_state_dict_post_hook(_leave_out)
    module.register_load_state_dict_pre_hook(_complete)


def frozen_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of ``module`` and below that are somebody else's, by the names that they have now."""
    return {f"{prefix}.{name}" if prefix else name: tensor for prefix, part in module.named_modules()
            if hasattr(part, FROZEN) for name, tensor in _frozen(part)}


def sharing(module: Module) -> Module:
    """A module of the same structure and of the same tensors."""
    return copy.deepcopy(module, {id(tensor): tensor for tensor in chain(module.parameters(), module.buffers())})


@contextmanager
def still_frozen(module: nn.Module) -> Iterator[None]:
    """What is somebody else's in ``module`` and below stays so while its tensors are replaced by others of their names.
    """
    names = {part: [name for name, _ in _frozen(part)] for part in module.modules() if hasattr(part, FROZEN)}
    yield
    for part, frozen in names.items():
        both = dict(chain(part.named_parameters(remove_duplicate=False), part.named_buffers(remove_duplicate=False)))
        setattr(part, FROZEN, [both[name] for name in frozen])


def _frozen(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    known = {id(tensor) for tensor in cast(list[Tensor], getattr(module, FROZEN))}
    both = chain(module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    return ((name, tensor) for name, tensor in both if id(tensor) in known)


def _leave_out(module: nn.Module, state: dict[str, Any], prefix: str, facts: dict[str, Any]) -> None:
    for name, _ in _frozen(module):
        state.pop(prefix + name, None)


def _complete(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Before a state is loaded: what it leaves out stays as it is, and what it brings gets a place of its own."""
    for name, tensor in list(_frozen(module)):
        if prefix + name in state:
            (parent, _, leaf), value = name.rpartition("."), tensor.detach().clone()
            value = nn.Parameter(value, requires_grad=False) if isinstance(tensor, nn.Parameter) else value
            setattr(module.get_submodule(parent), leaf, value)
        else:
            state[prefix + name] = tensor
