"""Maps of series ``(C, T)``, for any package that brings such data."""

import torch.nn.functional as F
from torch import Tensor

from ..base import Count
from ..controls import Control


class LowPass(Control):
    """The slow course of each channel: means over ``window`` positions about each, fewer at the ends."""

    def __init__(self, channels: int, *, window: Count = 9):
        if window % 2 == 0:
            raise ValueError(f"window is an odd number of positions, as many to each side; got {window}")
        self.width, self.window = channels, window

    def __call__(self, features: Tensor, latents: Tensor) -> Tensor:
        return F.avg_pool1d(latents, self.window, 1, self.window // 2, count_include_pad=False)
