"""Bonds of a molecule from the places of its atoms alone, and what follows from them.

    order_ij = 3 if d_ij < triple + 3 pm,  else 2 if d_ij < double + 5 pm,  else 1 if d_ij < single + 10 pm,  else 0
    bonds_i  = sum_j order_ij;      an atom is stable if that is a valence of its element, a molecule if all atoms are

Lengths, margins and valences are those of EDM (Hoogeboom et al. 2022, "Equivariant Diffusion for Molecule Generation
in 3D", its appendix and code), which took mean lengths of bonds from tables of chemistry and chose the margins by QM9.
No bond is read from a file and no charge is known: ions and nitro groups count as wrong. Sulphur may have 2 and 6
bonds besides the 4 given there.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .graphs import Graphs

Lengths = Mapping[str, Mapping[str, int]]

SINGLE: Lengths = {
    "H": {"H": 74, "B": 119, "C": 109, "N": 101, "O": 96, "F": 92, "Si": 148, "P": 144, "S": 134, "Cl": 127, "As": 152,
          "Br": 141, "I": 161},
    "B": {"Cl": 175},
    "C": {"C": 154, "N": 147, "O": 143, "F": 135, "Si": 185, "P": 184, "S": 182, "Cl": 177, "Br": 194, "I": 214},
    "N": {"N": 145, "O": 140, "F": 136, "P": 177, "S": 168, "Cl": 175, "Br": 214, "I": 222},
    "O": {"O": 148, "F": 142, "Si": 163, "P": 163, "S": 151, "Cl": 164, "Br": 172, "I": 194},
    "F": {"F": 142, "Si": 160, "P": 156, "S": 158, "Cl": 166, "Br": 178, "I": 187},
    "Si": {"Si": 233, "S": 200, "Cl": 202, "Br": 215, "I": 243},
    "P": {"P": 221, "S": 210, "Cl": 203, "Br": 222},
    "S": {"S": 204, "Cl": 207, "Br": 225, "I": 234},
    "Cl": {"Cl": 199, "Br": 214},
    "Br": {"Br": 228},
    "I": {"I": 266},
}
DOUBLE: Lengths = {
    "C": {"C": 134, "N": 129, "O": 120, "S": 160}, "N": {"N": 125, "O": 121}, "O": {"O": 121, "P": 150},
    "P": {"S": 186},
}
TRIPLE: Lengths = {"C": {"C": 120, "N": 116, "O": 113}, "N": {"N": 110}}
"""Mean lengths in picometres (1e-12 m), each pair named once."""
MARGINS = (10, 5, 3)
"""By how much a single, double and triple bond may be longer, in picometres."""
EXACT = "donot_use_mm_for_euclid_dist"
"""A distance by matrix products is wrong by a picometre where a molecule lies far from the origin."""
VALENCES = {
    "H": (1,), "B": (3,), "C": (4,), "N": (3,), "O": (2,), "F": (1,), "Si": (4,), "P": (3, 5), "S": (2, 4, 6),
    "Cl": (1,), "As": (3,), "Br": (1,), "I": (1,),
}


class Bonds:
    """The tables of some elements, for whole sets. Raises ``ValueError`` for an element whose bonds are not known."""

    def __init__(self, elements: Sequence[str]):
        if unknown := [symbol for symbol in elements if symbol not in VALENCES]:
            raise ValueError(
                f"bond lengths of {', '.join(unknown)} are not known here, so molecules that may hold it are not "
                f"judged; those of {', '.join(VALENCES)} are"
            )
        self.elements = list(elements)
        tables = SINGLE, DOUBLE, TRIPLE
        lengths = torch.tensor([[[_length(table, a, b) for b in elements] for a in elements] for table in tables])
        self.limits = (lengths + torch.tensor(MARGINS)[:, None, None]) / 100                  # (3, K, K), in Angstrom
        valences = [VALENCES[symbol] for symbol in elements]
        self.most = torch.tensor([max(valence) for valence in valences])
        counts = range(int(self.most.max()) + 2)                                              # the last: too many
        self.right = torch.tensor([[n in valence for n in counts] for valence in valences])

    def graphs(self, x: Tensor) -> Graphs:
        """Molecules ``(B, 3 + K, P)`` whose one-hot channels are all 0 at padding, to elements and orders of bonds."""
        real, kinds = x[:, 3:].any(1), x[:, 3:].argmax(1)
        limits = self.limits[:, kinds[:, :, None], kinds[:, None]]                            # (3, B, P, P)
        orders = (torch.cdist(x[:, :3].mT, x[:, :3].mT, compute_mode=EXACT) < limits).cumprod(0).sum(0)
        apart = ~torch.eye(x.shape[2], dtype=torch.bool) & real[:, :, None] & real[:, None]
        return Graphs(torch.where(real, kinds, -1), torch.where(apart, orders, 0))

    def stable(self, graphs: Graphs) -> Tensor:
        """``(B, P)``: atoms that have as many bonds as their element can have; no padding."""
        return graphs.real & self.right[graphs.kinds, graphs.bonds.clamp(max=self.right.shape[1] - 1)]

    def over(self, graphs: Graphs) -> Tensor:
        """``(B, P)``: atoms that have more."""
        return graphs.real & (graphs.bonds > self.most[graphs.kinds])


def _length(table: Lengths, a: str, b: str) -> float:
    """In picometres; far below any where no such bond is known."""
    return table.get(a, {}).get(b, table.get(b, {}).get(a, -math.inf))
