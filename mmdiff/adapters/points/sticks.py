"""Molecules to look at: atoms in the colours of their elements, and their bonds as rows of beads between them.

    bead  x_i + t (x_j - x_i),  t = 1/(n + 1) .. n/(n + 1),    of the colour of the nearer atom
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .bonds import VALENCES, Bonds
from .render import Shown

COLORS = {
    "H": "#e8e8e8", "C": "#555555", "N": "#3050f8", "O": "#ff2010", "F": "#60c030", "S": "#e0c020", "P": "#ff8000",
    "Cl": "#1ff01f", "Br": "#a62929",
}
OTHER = "#d070c0"
"""Of an element without a colour of its own."""
BEADS = 8
"""Of each bond, whatever its order."""


def sticks(sample: Tensor, title: str, elements: Sequence[str]) -> Shown:
    """A molecule ``(3 + K, N)`` of K ``elements``; without bonds where lengths of any of them are not known."""
    paint = torch.stack([_rgb(COLORS.get(symbol, OTHER)) for symbol in elements])
    positions, colors = sample[:3].T, paint[sample[3:].argmax(0)]                 # (N, 3)
    if set(elements) <= set(VALENCES):
        first, second = Bonds(elements).graphs(sample[None]).orders[0].triu().nonzero().T
        along = (torch.arange(1, BEADS + 1) / (BEADS + 1))[:, None, None]
        beads = positions[first] + along * (positions[second] - positions[first])  # (BEADS, bonds, 3)
        nearer = torch.where(along < 0.5, colors[first], colors[second])
        positions, colors = (torch.cat([a, b.flatten(0, 1)]) for a, b in ((positions, beads), (colors, nearer)))
    return Shown(positions.T, title, colors.T)


def _rgb(color: str) -> Tensor:
    """``"#rrggbb"`` to ``(3,)`` in [-1, 1]."""
    return torch.tensor([int(color[i : i + 2], 16) / 127.5 - 1 for i in (1, 3, 5)])
