"""Exponential moving average of weights, its memory given in samples, not steps.

    average <- average + (1 - 2^(-batch / h)) (weights - average),     h = min(half_life, ramp * samples seen)

While ``h`` is the ramp, this is a power-function average over a fixed share of training (Karras et al. 2024, eq. 4-5:
the weight of a past sample grows as a power ln 2 / ramp of its time), so one setting serves short and long runs.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class Ema(nn.Module):
    """An average of ``source``; ``half_life`` in samples, ``ramp`` as a share of the samples seen so far.

    What does not learn is shared with it, not copied.
    """

    def __init__(self, source: nn.ModuleDict, *, half_life: float = math.inf, ramp: float = 0.06):
        super().__init__()
        if half_life <= 0 or ramp <= 0:
            raise ValueError(f"half_life and ramp must be positive, got {half_life} and {ramp}")
        self.half_life, self.ramp = half_life, ramp
        shared = {id(p): p for p in source.parameters() if not p.requires_grad}
        self.average = copy.deepcopy(source, shared).requires_grad_(False)

    @torch.no_grad()
    def update(self, source: nn.Module, *, seen: int, batch: int) -> None:
        """Move towards ``source`` after a step of ``batch`` samples, ``seen`` of them in all with this step."""
        rate = 1 - 0.5 ** (batch / min(self.half_life, self.ramp * seen))
        both = zip(self.average.parameters(), source.parameters(), strict=True)
        pairs = [(_local(a), _local(b)) for a, b in both if b.requires_grad]
        if pairs:
            torch._foreach_lerp_([a for a, _ in pairs], [b.to(a.dtype) for a, b in pairs], rate)
        for a, b in zip(self.average.buffers(), source.buffers(), strict=True):
            a.copy_(b)


def _local(parameter: nn.Parameter) -> Tensor:
    """This process's part of a sharded parameter; any other as it is."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
