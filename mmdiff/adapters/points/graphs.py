"""Molecules as graphs: which atoms are bonded, whether all hang together, and which graphs are the same.

    key = sum_i c_i after ROUNDS of  c_i <- mix(c_i, sum_j mix(c_j, order_ij)),    c_i = element at first

Keys are equal for equal graphs whatever the order of their atoms, and differ where colour refinement (Weisfeiler &
Leman 1968) tells two apart: nearly always for small molecules, but decalin and bicyclopentyl, say, have one key. Mirror
images do too.
"""

from typing import NamedTuple

import torch
from torch import Tensor

FACTORS = (-7046029254386353131, -4265267296055464877)
"""Odd 64-bit numbers that spread bits when multiplied by, as signed ones: 2^64 / golden ratio, and MurmurHash3's."""

ROUNDS = 24
"""How many bonds away an atom still sees another, whatever it is padded to: more than a small molecule is long."""


class Graphs(NamedTuple):
    """``kinds`` ``(B, P)``: the element of each atom by number, -1 for none; ``orders`` ``(B, P, P)`` of bonds."""

    kinds: Tensor
    orders: Tensor

    @property
    def real(self) -> Tensor:
        """``(B, P)``: where there is an atom."""
        return self.kinds >= 0

    @property
    def bonds(self) -> Tensor:
        """``(B, P)``: of each atom, a double one counting twice."""
        return self.orders.sum(2)

    def fragments(self) -> Tensor:
        """``(B,)``: parts that no bond connects."""
        reach = (self.orders > 0) | torch.eye(self.orders.shape[1], dtype=torch.bool)
        for _ in range(max(1, (self.orders.shape[1] - 1).bit_length())):           # paths twice as long each time
            reach = reach.float() @ reach.float() > 0
        return (self.real / reach.sum(2)).sum(1).round()

    def rings(self) -> Tensor:
        """``(B,)``: bonds that could be cut without a part coming off, one after the other."""
        return (self.orders > 0).sum((1, 2)) / 2 - self.real.sum(1) + self.fragments()

    def keys(self) -> Tensor:
        """``(B,)`` int64."""
        colours = _mixed(self.kinds + 2)
        for _ in range(ROUNDS):
            seen = _mixed(colours[:, None] + FACTORS[1] * self.orders)             # (B, P, P): of j as bonded to i
            colours = _mixed(FACTORS[0] * colours + torch.where(self.orders > 0, seen, 0).sum(2))
        return torch.where(self.real, colours, 0).sum(1)


def _mixed(x: Tensor) -> Tensor:
    """int64 to int64, one to one, each bit hanging on most others."""
    for factor in FACTORS:
        x = (x ^ (x >> 32)) * factor
    return x ^ (x >> 29)
