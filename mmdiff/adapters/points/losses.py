"""How far a cloud is from another, as training asks.

    Chamfer    mean_p min_q |p - q|^2 + mean_q min_p |q - p|^2,   nearest by place, with what else is known there

(Fan et al. 2017, section 4.) The same number as ``mmdiff eval`` tells as CD.
"""

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ...core.types import Masked
from ..reconstruction import ReconstructionLoss, mean


class Chamfer(ReconstructionLoss):
    """Mean squared distance to the nearest point, both ways; further channels are compared with those of that point."""

    def check(self, axes: int) -> None:
        if axes:
            raise ValueError(f"{type(self).__name__} compares sets of points, and these samples are grids: leave it "
                             "out, or take the reconstruction= of their modality")

    def __call__(self, output: Masked, real: Masked) -> Tensor:
        return _one_way(output, real) + _one_way(real, output)


def _one_way(cloud: Masked, other: Masked) -> Tensor:
    """``(B,)``: mean squared distance of the points of ``cloud`` to the nearest of ``other``."""
    index = nearest(cloud.x[:, :3], other)
    apart = (cloud.x - other.x.gather(2, index[:, None].expand(-1, other.x.shape[1], -1))).square()
    return mean(apart.sum(1, keepdim=True), cloud.mask)


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
