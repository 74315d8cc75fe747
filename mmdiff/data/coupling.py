"""Which point of the noise goes to which point of the data.

    permutation p minimising  sum_i |eps_i - x_p(i)|^2  =  const - 2 sum_i eps_i . x_p(i)

A set has no order, so instead of the noise its own points are permuted. Noise that is permuted is still independent
and normal, so sampling needs no change; paths from noise to data get straighter (Pooladian et al. 2023; for clouds
Hui et al. 2025). Neither scale nor shift of the data change the minimum, so no codec is asked.
"""

from typing import Literal

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

KINDS = ("independent", "assignment", "blocks")
BLOCK = 256
"""Points of a block."""


class Coupling:
    """``"independent"``: as they come; ``"assignment"``: the minimum over the first three channels, O(N^3);
    ``"blocks"``: the minimum within each 256 points, O(N)."""

    def __init__(self, *, kind: Literal["independent", "assignment", "blocks"] = "independent"):
        if kind not in KINDS:
            raise ValueError(f"coupling.kind is one of {', '.join(KINDS)}, got {kind!r}")
        self.kind = kind

    def __call__(self, sample: Tensor, eps: Tensor) -> Tensor:
        """``sample`` ``(C, N)`` with its points reordered to lie near those of ``eps`` ``(C, N)``."""
        if self.kind == "independent":
            return sample
        x, e, order = sample[:3].numpy(), eps[:3].numpy(), np.arange(sample.shape[1])
        block = BLOCK if self.kind == "blocks" else len(order)
        for start in range(0, len(order), block):
            part = slice(start, start + block)
            _, columns = linear_sum_assignment(-(e[:, part].T @ x[:, part]))
            order[part] = start + columns
        return sample[:, torch.from_numpy(order)]
