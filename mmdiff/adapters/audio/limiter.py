"""A look-ahead limiter: sound that would leave full scale is turned down around its peaks, smoothly, and nowhere else.

    p_n = max |x(n + k / 4)|,  k = -3 .. 3                  true peak: between samples too (ITU-R BS.1770, annex 2)
    g   = mean over 2 W + 1 of ( min over 2 W + 1 of  min(1, ceiling / p) )          y = g x

Each of the minima that are averaged at n has n in its window, so g_n p_n <= ceiling.
"""

import math

import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from torch import Tensor

CEILING = 0.98
"""The largest absolute value: rounding to 16 bits and resampling leave it below full scale."""
LOOK_AHEAD = 0.005
"""Seconds before a peak in which the gain goes down, and after it in which it comes back."""
OVERSAMPLING = 4


def limit(sample: Tensor, sample_rate: int, *, ceiling: float = CEILING) -> tuple[Tensor, dict[str, float]]:
    """``(C, L)`` with true peaks of at most ``ceiling``, all channels by one gain, and what was done, if anything.

    ``limited_share`` is the share of samples that were beyond, ``limited_db`` by how many dB the loudest was.
    """
    peak = true_peak(sample).amax(0)                                  # (L,)
    greatest = float(peak.max())
    if greatest <= ceiling:
        return sample, {}
    width = 2 * round(LOOK_AHEAD * sample_rate) + 1
    gain = (ceiling / peak.clamp(min=ceiling))[None]
    lowest = -F.max_pool1d(-gain, width, stride=1, padding=width // 2)
    smooth = F.avg_pool1d(lowest, width, stride=1, padding=width // 2, count_include_pad=False)
    meta = {"limited_share": float((peak > ceiling).double().mean()), "limited_db": 20 * math.log10(greatest / ceiling)}
    return (sample * smooth).clamp(-ceiling, ceiling), meta


def true_peak(sample: Tensor) -> Tensor:
    """``(C, L)``: the largest absolute value at each sample, and between it and its neighbours."""
    fine = AF.resample(sample, 1, OVERSAMPLING)[:, : OVERSAMPLING * sample.shape[-1]].abs()
    reach = OVERSAMPLING - 1
    near = F.max_pool1d(fine, 2 * reach + 1, stride=OVERSAMPLING, padding=reach)[:, : sample.shape[-1]]
    return torch.maximum(near, sample.abs())
