"""Maps of films: outlines, brightness, depth, and the film itself at a lower resolution.

    Edges            sqrt(mean_c |Sobel(pixels_c)|^2),   Sobel = [1 2 1]' [-1 0 1] / 4 and its transpose
    Grey             0.299 r + 0.587 g + 0.114 b
    Depth            Grey of a film of depths beside the film, and its means over blur x blur pixels
    LowResolution    means over factor x factor pixels, repeated
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..base import Count
from ..controls import Control

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601."""


class Edges(Control):
    """A sketch: how strong the outline is at each pixel. Values below ``least`` are 0."""

    width = 1

    def __init__(self, channels: int = 3, *, least: float = 0.1):
        self.least = least

    def __call__(self, features: Tensor, latents: Tensor) -> Tensor:
        x = features[:, :3]                                                       # without alpha
        x = F.pad(x, (1, 1, 1, 1, 0, 0), mode="replicate")
        along, across = (_slope(x, axis) for axis in (-2, -1))
        strength = (along**2 + across**2).mean(1, keepdim=True).sqrt()
        return torch.where(strength < self.least, 0, strength)


class Grey(Control):
    """Brightness in [-1, 1]: what is left to a model is the colour."""

    width = 1

    def __init__(self, channels: int = 3):
        self.channels = channels

    def __call__(self, features: Tensor, latents: Tensor) -> Tensor:
        if self.channels == 1:
            return features
        return sum((luma * features[:, i : i + 1] for i, luma in enumerate(LUMA)), torch.zeros_like(features[:, :1]))


class Depth(Grey):
    """How near each pixel is, as the brightness of another film tells (``data.maps``), blurred over ``blur`` pixels a
    side, so that its errors at outlines are not followed."""

    of_files = True

    def __init__(self, channels: int = 3, *, blur: Count = 1):
        super().__init__(channels)
        if blur % 2 == 0:
            raise ValueError(f"blur is an odd number of pixels, as many to each side; got {blur}")
        self.blur = blur

    def __call__(self, features: Tensor, latents: Tensor) -> Tensor:
        depth = super().__call__(features, latents)
        frames = F.avg_pool2d(depth.flatten(0, 2)[:, None], self.blur, 1, self.blur // 2, count_include_pad=False)
        return frames.reshape(depth.shape)


class LowResolution(Control):
    """The film in blocks of ``factor`` pixels a side, from the upper left corner on: a model that makes it sharp."""

    def __init__(self, channels: int = 3, *, factor: Count = 4):
        self.width, self.factor = channels, factor

    def __call__(self, features: Tensor, latents: Tensor) -> Tensor:
        height, width = latents.shape[-2:]
        frames = latents.flatten(0, 2)[:, None]                                   # (B C T, 1, H, W)
        coarse = F.avg_pool2d(frames, self.factor, ceil_mode=True, count_include_pad=False)
        fine = coarse.repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1)
        return fine[..., :height, :width].reshape(latents.shape)


def _slope(x: Tensor, axis: int) -> Tensor:
    """Sobel's difference along ``axis`` of the last two, within a border of one pixel; a mirror changes its sign alone.
    """
    other = -1 if axis == -2 else -2
    n, m = x.shape[axis] - 2, x.shape[other] - 2
    d = x.narrow(axis, 2, n) - x.narrow(axis, 0, n)
    return ((d.narrow(other, 0, m) + d.narrow(other, 2, m)) + 2 * d.narrow(other, 1, m)) / 4
