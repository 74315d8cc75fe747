"""Weights of a public model on the host, and on the device only while their block computes.

    block i is called:   wait for its copies   ->   begin to copy those of the block that comes next   ->   compute

What learns stays where it is. Autograd keeps what it needs of a block, its copies among it, until its backward pass is
done; so memory stays at a few blocks where each is computed again. Copies have the bits of what they are copies of.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .frozen import frozen_tensors
from .network import blocks


class Place(NamedTuple):
    """Where a weight is."""

    module: nn.Module
    name: str
    weight: nn.Parameter


def frozen_places(network: nn.Module) -> list[list[Place]]:
    """The weights of each block that are a public model's."""
    known = {id(tensor) for tensor in frozen_tensors(network).values()}
    return [[Place(module, name, weight) for module in block.modules()
             for name, weight in module.named_parameters(recurse=False) if id(weight) in known]
            for block in blocks(network)]


def offload(network: nn.Module) -> "Offloaded":
    """Keep the weights of the blocks of ``network`` that are a public model's on the host, wherever it is moved.

    Raises ``ValueError`` where there are none.
    """
    places = frozen_places(network)
    if not any(places):
        raise ValueError("offload=true keeps weights of a public model on the host, and this network has none")
    ahead = Offloaded(places)
    for i, block in enumerate(blocks(network)):
        block.forward = partial(ahead, i, block.forward)
        setattr(block, "_apply", partial(_staying, block._apply, places[i]))      # noqa: B010 (what .to() calls)
    return ahead


class Offloaded:
    """The copies for one network."""

    def __init__(self, places: Sequence[Sequence[Place]]):
        self.places = places
        self._ready: tuple[int, list[Tensor]] = -1, []
        self._before = -1
        self._stream: Any = None

    def __call__(self, i: int, forward: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """The forward pass of block ``i``, with copies of its weights on the device of what it is given."""
        device = next(v.device for v in (*arguments, *named.values()) if isinstance(v, Tensor))
        ready, copies = self._ready
        copies = copies if ready == i else self.copied(i, device)
        if self._stream is not None:
            current = torch.cuda.current_stream(device)
            current.wait_stream(self._stream)
            for copy in copies:
                copy.record_stream(current)
        after = self._after(i)
        self._before, self._ready = i, (after, copies if after == i else self.copied(after, device))
        with _in_place(self.places[i], copies):
            return forward(*arguments, **named)

    def copied(self, i: int, device: torch.device) -> list[Tensor]:
        """Copies of the weights of block ``i``; to a GPU they are made beside what it computes."""
        weights = [place.weight for place in self.places[i]]
        if device.type != "cuda":
            return [weight.detach().to(device, copy=True) for weight in weights]
        if self._stream is None:
            self._stream = torch.cuda.Stream(device)
        for weight in weights:
            if not weight.is_pinned():
                weight.data = weight.data.pin_memory()
        with torch.cuda.stream(self._stream):
            return [weight.detach().to(device, non_blocking=True) for weight in weights]

    def _after(self, i: int) -> int:
        """The block that is likely to come after ``i``: the next, and in a backward pass the one before."""
        last = len(self.places) - 1
        if not torch.is_grad_enabled():
            return 0 if i == last else i + 1
        if i == last and self._before != last:
            return last                                               # it is computed again first
        return max(i - 1, 0) if i == last or i < self._before else i + 1


@contextmanager
def _in_place(places: Sequence[Place], values: Sequence[Any]) -> Iterator[None]:
    """Each place has its value for a while."""
    try:
        for (module, name, _), value in zip(places, values, strict=True):
            module._parameters[name] = value
        yield
    finally:
        for module, name, weight in places:
            module._parameters[name] = weight


def _staying(apply: Callable[..., Any], places: Sequence[Place], *arguments: Any, **named: Any) -> Any:
    """Move a block, but for these weights."""
    with _in_place(places, [None] * len(places)):
        return apply(*arguments, **named)
