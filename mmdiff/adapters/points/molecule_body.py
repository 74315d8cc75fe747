"""Molecules as numbers that do not change when they are turned: what a judge compares.

    around_i[l, r] = sum_{j of element l, j != i} hat_r(d_ij)                of an atom: how many of which, how far
    pairs[k, l, r] = sum_{i of element k} around_i[l, r]                     of a molecule: its histogram of distances
    features       = W [mean_i f_i, max_i f_i],    f_i = MLP([element_i, around_i])      (Zaheer et al. 2017)

hat_r is 1 at the r-th of ``NODES`` distances and falls to 0 at the ones beside it, so that nothing jumps.
"""

import torch
from torch import Tensor, nn

from ..judge import WIDTH, Body

NODES = torch.linspace(0.6, 4.2, 25)
"""Angstrom; beyond the last there is nothing to tell of bonds and angles."""
JITTER = 0.01
"""Standard deviation by which training moves atoms, in Angstrom."""


def environments(x: Tensor) -> Tensor:
    """``(B, 3 + K, P)``, 0 at padding -> ``(B, P, K, R)``: what lies around each atom."""
    positions, kinds = x[:, :3].mT, x[:, 3:].mT
    distance = torch.cdist(positions, positions)[..., None]
    hats = (1 - ((distance - NODES) / (NODES[1] - NODES[0])).abs()).clamp(min=0)
    return torch.einsum("bijr,bjk->bikr", hats, kinds)


def pair_distances(x: Tensor) -> Tensor:
    """``(B, K K R)``: the root of each share of the histogram, so that L2 distances are Hellinger's."""
    pairs = torch.einsum("bikr,bil->blkr", environments(x), x[:, 3:].mT).flatten(1)
    return (pairs / pairs.sum(1, keepdim=True).clamp(min=1e-12)).sqrt()


class MoleculeBody(Body):
    """Molecules ``(B, 3 + K, P)`` of ``elements`` = K; padding, order and place of the atoms mean nothing."""

    mean: Tensor
    std: Tensor

    def __init__(self, *, elements: int):
        super().__init__()
        width = elements * (1 + len(NODES))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.atoms = nn.Sequential(nn.Linear(width, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU())
        self.out = nn.Linear(2 * WIDTH, WIDTH)

    def measure(self, x: Tensor) -> None:
        seen = torch.cat([_atoms(part)[part[:, 3:].any(1)] for part in x.split(256)])
        self.mean.copy_(seen.mean(0))
        self.std.copy_(seen.std(0).clamp(min=0.01))

    def forward(self, x: Tensor) -> Tensor:
        real = x[:, 3:].any(1)[..., None]                                         # (B, P, 1)
        f = self.atoms((_atoms(x) - self.mean) / self.std)
        mean = (f * real).sum(1) / real.sum(1)
        return self.out(torch.cat([mean, f.where(real, -torch.inf).amax(1)], 1))

    def augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        moved = x[:, :3] + JITTER * torch.randn(x[:, :3].shape, generator=generator)
        return torch.cat([moved, x[:, 3:]], 1)


def _atoms(x: Tensor) -> Tensor:
    """``(B, P, K + K R)``: the element of each atom and what lies around it."""
    return torch.cat([x[:, 3:].mT, environments(x).flatten(2)], -1)
