"""Which point of the noise goes to which point of the data.

    permutation p minimising  sum_i |eps_i - x_p(i)|^2  =  const - 2 sum_i eps_i . x_p(i)

A set has no order, so instead of the noise its own points are permuted. Noise that is permuted is still independent
and normal, so sampling needs no change; paths from noise to data get straighter (Pooladian et al. 2023; for clouds
Hui et al. 2025). Neither scale nor shift of the data change the minimum, so no codec is asked.
"""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


class Assignment:
    """Exact assignment on the first three channels, within blocks of at most ``block`` points: O(block^2 N)."""

    def __init__(self, *, block: int = 256):
        if block < 2:
            raise ValueError(f"block is a number of points, at least 2; got {block}")
        self.block = block

    def __call__(self, sample: Tensor, eps: Tensor) -> Tensor:
        """``sample`` ``(C, N)`` with its points reordered to lie near those of ``eps`` ``(C, N)``."""
        x, e, order = sample[:3].numpy(), eps[:3].numpy(), np.arange(sample.shape[1])
        for start in range(0, len(order), self.block):
            part = slice(start, start + self.block)
            _, columns = linear_sum_assignment(-(e[:, part].T @ x[:, part]))
            order[part] = start + columns
        return sample[:, torch.from_numpy(order)]
