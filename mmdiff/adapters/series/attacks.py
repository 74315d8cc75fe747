"""What happens to series of numbers on their way: noise, another unit, parts, another rate."""


import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..attacks import Attack, changed


def attacks() -> dict[str, Attack]:
    """By name, of series ``(C, T)``."""
    return {
        "noise, 0.03 spreads": changed(lambda x: _noisy(x, 0.03)),
        "noise, 0.1 spreads": changed(lambda x: _noisy(x, 0.1)),
        "a tenth larger": changed(lambda x: 1.1 * x),
        "at half the rate, and back": changed(lambda x: _stretched(_stretched(x, -(-x.shape[1] // 2)), x.shape[1])),
        "without the first quarter": changed(lambda x: x[:, x.shape[1] // 4 :]),
    }


def _noisy(x: Tensor, fraction: float) -> Tensor:
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return x + fraction * x.std(1, keepdim=True) * noise


def _stretched(x: Tensor, length: int) -> Tensor:
    return interpolate(x[None], length, mode="linear", align_corners=True)[0]
