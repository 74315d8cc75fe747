"""What a forward and a backward pass take, traced with tensors that have a shape alone: operations, and bytes.

    peak of B samples = constant + B x activations of a sample,     from two sizes of a batch

Multiplications and additions count each, and again where a block is computed again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from ..adapters.base import Conditioner
from ..adapters.texts import TextEncoder
from ..engines.memory import Peak

FEW, MORE = 512, 1024
"""Samples that are traced, as many as make activations more than gradients: memory is highest where they are, then."""


class Trace(NamedTuple):
    """A forward and backward pass of one sample more, and what stays whatever the batch."""

    flop: int
    activations: int
    """Bytes."""
    constant: int
    """Bytes besides weights, such as those of weights that are computed from others."""


class Unread(TextEncoder):
    """Stands for a frozen text encoder: the longest text, whatever it is, which nobody reads."""

    def __init__(self, encoder: TextEncoder):
        self.width, self.length, self.truncate = encoder.width, encoder.length, encoder.truncate

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        return [["word"] * self.length for _ in texts]

    def __call__(self, texts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
        shape = len(texts), self.length
        return torch.zeros(*shape, self.width, device=device), torch.ones(shape, dtype=torch.bool, device=device)


def step(
    network: nn.Module, conditioner: Conditioner, channels: int, shape: tuple[int, ...], *, half: bool
) -> Callable[[int], None]:
    """A forward and a backward pass of a number of latents ``(channels, *shape)``, of which nothing is told but the
    longest texts; with ``half`` under autocast to bfloat16."""
    def run(batch: int) -> None:
        cond = conditioner.null(batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = network(torch.randn(batch, channels, *shape), torch.rand(batch), cond)
        out.float().square().mean().backward()

    return run


def traced(run: Callable[[int], None], parts: nn.Module) -> Trace:
    """What one sample more takes. Under ``FakeTensorMode``."""
    flop, peaks = [], []
    for batch in (FEW, MORE):
        with _counted() as counter:
            run(batch)
        parts.zero_grad()
        with Peak(parts) as peak:                                     # the counter keeps what is computed again
            run(batch)
        parts.zero_grad()
        flop.append(counter.get_total_flops())
        peaks.append(peak.most)
    more = MORE - FEW
    activations = (peaks[1] - peaks[0]) // more
    return Trace((flop[1] - flop[0]) // more, activations, peaks[0] - FEW * activations)


@contextmanager
def _counted() -> Iterator[FlopCounterMode]:
    """The counter, which does not know the attention of a CPU by itself."""
    aten = torch.ops.aten
    known: Mapping[Any, Callable[..., int]] = {
        aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
        aten._scaled_dot_product_flash_attention_for_cpu_backward:
            lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v),
    }
    with FlopCounterMode(display=False, custom_mapping=dict(known)) as counter:
        yield counter
