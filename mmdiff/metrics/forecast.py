"""How good a forecast of several members is, and whether it goes on from what was given.

    CRPS = mean_i |x_i - y| - 1 / (2 M (M - 1)) sum_ij |x_i - x_j|          M members x_i of the true value y
    jump = mean |x_1 - x_0|,     x_0 the last given position, x_1 the first that is made

CRPS is that of the distribution that members are drawn from, without bias for their number (Gneiting & Raftery 2007,
eq. 21; Ferro 2014); of one member it is the absolute error. The unit of both is that of the values.
"""

import torch
from torch import Tensor


def crps(members: Tensor, truth: Tensor) -> Tensor:
    """``(M, N, C, T, ...)`` of ``(N, C, T, ...)`` -> means ``(N, T)`` over all other axes."""
    count = len(members)
    error = (members - truth).abs().mean(0)
    if count > 1:
        ordered = members.sort(0).values                              # sum_ij |x_i - x_j| = 2 sum_i (2 i - M + 1) x_(i)
        weight = 2 * torch.arange(count, dtype=members.dtype) - count + 1
        error = error - torch.tensordot(weight, ordered, 1) / (count * (count - 1))
    return error.double().transpose(1, 2).flatten(2).mean(2)


def jump(given: Tensor, generated: Tensor) -> Tensor:
    """``(N, C, T, ...)`` and ``(N, C, T', ...)``, what follows -> ``(N,)``."""
    return (generated[:, :, 0] - given[:, :, -1]).double().abs().flatten(1).mean(1)
