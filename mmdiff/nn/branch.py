"""A network with a branch that follows maps.

    out = branch(x, level, cond)    where the sample has a map,
          network(x, level, cond)   elsewhere

As a ControlNet (Zhang et al. 2023) a branch begins as a copy of a frozen network, learns to follow maps, and leaves
what the network makes of all else as it is. Here the copy differs by a small change of its weights and by what reads
the maps; where there are maps it is asked instead of the network, so that nothing is added up between the two.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .inputs import CondLike
from .network import Network


class Branched(Network):
    """``network``, and a ``branch`` of the same shape that is asked for samples with a map: for which one of
    the channels ``presence`` of ``cond.concat`` is not 0."""

    def __init__(self, network: Network, branch: Network, presence: Sequence[int]):
        super().__init__()
        self.network, self.branch, self.presence = network, branch, list(presence)
        self.pads, self.ordered = network.pads, network.ordered

    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        plain = self.network(x, level, cond, mask)
        if cond is None or cond.concat is None:
            return plain
        present = cond.concat[:, self.presence].flatten(1).amax(1) > 0            # (B,)
        return torch.where(present.view(-1, *(1,) * (x.ndim - 1)), self.branch(x, level, cond, mask), plain)
