"""How far a cloud is from another, as training asks.

    Chamfer    mean_p min_q |p - q|^2 + mean_q min_p |q - p|^2,   nearest by place, with what else is known there

(Fan et al. 2017, section 4.) The same number as ``mmdiff eval`` tells as CD.
"""

import torch
from torch import Tensor

from ...core.types import Masked
from ..reconstruction import ReconstructionLoss


class Chamfer(ReconstructionLoss):
    """Mean squared distance to the nearest point, both ways; further channels are compared with those of that point."""

    def __call__(self, output: Masked, real: Masked) -> Tensor:
        apart = _distances(output.x[:, :3], real.x[:, :3])              # (B, N, M)
        if real.mask is not None:
            apart = apart.masked_fill(~real.mask, torch.inf)
        if output.mask is not None:
            apart = apart.masked_fill(~output.mask.mT, torch.inf)
        found = []
        for axis, (cloud, other) in ((2, (output, real)), (1, (real, output))):
            nearest = other.x.gather(2, apart.argmin(axis)[:, None].expand(-1, other.x.shape[1], -1))
            error = (cloud.x - nearest).square().sum(1, keepdim=True)
            if cloud.mask is not None:
                error = torch.where(cloud.mask, error, 0)
            count = error.shape[2] if cloud.mask is None else cloud.mask.flatten(1).sum(1).clamp(min=1)
            found.append(error.flatten(1).sum(1) / count)
        return found[0] + found[1]


@torch.no_grad()
def _distances(a: Tensor, b: Tensor) -> Tensor:
    """``(B, 3, N)`` and ``(B, 3, M)`` -> ``(B, N, M)``; only which is nearest is asked of it."""
    return torch.cdist(a.mT.float(), b.mT.float())
