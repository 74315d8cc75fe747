"""How far a cloud is from another, as training asks.

    Chamfer       mean_p min_q |p - q|^k + mean_q min_p |q - p|^k,   nearest by place, with what else is known there
    Assignment    min over one-to-one pairs of mean |p - q|^k

(Fan et al. 2017, section 4.) With k = 2 the first is the number that ``mmdiff eval`` tells as CD; k = 1 minds small
errors as much as large ones, so surfaces become thinner. Points may lie in heaps for the first, not for the second.
"""

from typing import Literal

import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from torch import Tensor

from ...core.types import Masked
from ..base import Count
from ..reconstruction import Factor, ReconstructionLoss, mean


class SetLoss(ReconstructionLoss):
    """A term for sets of points, of distances to the power ``power``; further channels count as places do."""

    def __init__(self, *, weight: Factor = 1.0, power: Literal[1, 2] = 2):
        super().__init__(weight=weight)
        self.power = power

    def check(self, axes: int) -> None:
        if axes:
            raise ValueError(f"{type(self).__name__} compares sets of points, and these samples are grids: leave it "
                             "out, or take the reconstruction= of their modality")

    def apart(self, a: Tensor, b: Tensor) -> Tensor:
        """``(..., 1, N)``: how far points ``(..., C, N)`` are from those of the same position."""
        squared = (a - b).square().sum(-2, keepdim=True)
        return squared if self.power == 2 else (squared + 1e-12).sqrt()   # a root has no slope at 0


class Chamfer(SetLoss):
    """Mean distance to the nearest point, both ways; further channels are compared with those of that point."""

    def __call__(self, output: Masked, real: Masked) -> Tensor:
        return self._one_way(output, real) + self._one_way(real, output)

    def _one_way(self, cloud: Masked, other: Masked) -> Tensor:
        """``(B,)``: mean distance of the points of ``cloud`` to the nearest of ``other``."""
        index = nearest(cloud.x[:, :3], other)
        paired = other.x.gather(2, index[:, None].expand(-1, other.x.shape[1], -1))
        return mean(self.apart(cloud.x, paired), cloud.mask)


class Assignment(SetLoss):
    """Mean distance of ``points`` of each set, in the pairs that make it least. Pairs are found on the host, in a time
    that grows with the third power of their number."""

    def __init__(self, *, weight: Factor = 1.0, power: Literal[1, 2] = 2, points: Count = 256):
        super().__init__(weight=weight, power=power)
        self.points = points

    def __call__(self, output: Masked, real: Masked) -> Tensor:
        found = [self._of(_kept(output, i), _kept(real, i)) for i in range(len(output.x))]
        return torch.stack(found)

    def _of(self, made: Tensor, asked: Tensor) -> Tensor:
        count = min(self.points, made.shape[1], asked.shape[1])
        made = made[:, :count]                                        # the first seeds are spread like all
        asked = asked[:, torch.arange(count, device=asked.device) * asked.shape[1] // count]
        costs = torch.cdist(made.detach().float().mT, asked.detach().float().mT).pow(self.power).cpu()
        if not costs.isfinite().all():
            return self.apart(made, asked).mean()                     # not finite: told as such by who trains
        order = torch.as_tensor(linear_sum_assignment(costs.numpy())[1], device=asked.device)
        return self.apart(made, asked[:, order]).mean()


def _kept(cloud: Masked, i: int) -> Tensor:
    """The real points ``(C, N_i)`` of row ``i``."""
    return cloud.x[i] if cloud.mask is None else cloud.x[i][:, cloud.mask[i, 0]]


@torch.no_grad()
def nearest(places: Tensor, cloud: Masked) -> Tensor:
    """``(B, N)``: which point of ``cloud`` ``(B, C, M)`` is nearest to each of ``places`` ``(B, 3, N)``.

    On the host by a tree, in N log M; on an accelerator by all distances, which is quicker there.
    """
    places, others = places.float().mT, cloud.x[:, :3].float().mT
    if places.device.type == "cpu" and places.isfinite().all() and others.isfinite().all():
        found = []
        for i, (one, other) in enumerate(zip(places, others, strict=True)):
            real = torch.arange(len(other)) if cloud.mask is None else cloud.mask[i, 0].nonzero()[:, 0]
            found.append(real[torch.from_numpy(cKDTree(other[real].numpy()).query(one.numpy())[1])])
        return torch.stack(found)
    apart = torch.cdist(places, others)                               # (B, N, M)
    if cloud.mask is not None:
        apart = apart.masked_fill(~cloud.mask, torch.inf)
    return apart.argmin(2)
