"""What happens to sets of points on their way: jitter, another order, other places and sizes, fewer points."""

import math
from functools import partial

import torch
from torch import Tensor

from ..attacks import Attack, changed


def attacks(normals: bool) -> dict[str, Attack]:
    """By name; lengths are parts of the half size of the set."""
    return {
        "jitter, 0.01": changed(partial(_jittered, std=0.01)),
        "jitter, 0.02": changed(partial(_jittered, std=0.02)),
        "jitter, 0.05": changed(partial(_jittered, std=0.05)),
        "8 bits a coordinate": changed(_rounded),
        "twice as large, and moved": changed(lambda x: torch.cat([2 * x[:3] + 0.3, x[3:]])),
        "turned by 5 degrees": changed(partial(_turned, degrees=5, normals=normals)),
        "turned by 90 degrees": changed(partial(_turned, degrees=90, normals=normals)),
        "without the first quarter": changed(lambda x: x[:, x.shape[1] // 4 :]),
        "without every fourth point": changed(lambda x: x[:, torch.arange(x.shape[1]) % 4 != 3]),
        "in another order": changed(lambda x: x[:, torch.randperm(x.shape[1], generator=_chance())]),
    }


def _chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _half(x: Tensor) -> float:
    """Half of the longest side."""
    return float((x[:3].amax(1) - x[:3].amin(1)).max()) / 2


def _jittered(x: Tensor, *, std: float) -> Tensor:
    return torch.cat([x[:3] + std * _half(x) * torch.randn(x[:3].shape, generator=_chance()), x[3:]])


def _rounded(x: Tensor) -> Tensor:
    low, step = x[:3].amin(1, keepdim=True), 2 * _half(x) / 255
    return torch.cat([low + ((x[:3] - low) / step).round() * step, x[3:]]) if step else x


def _turned(x: Tensor, *, degrees: float, normals: bool) -> Tensor:
    """About the vertical axis, y."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn, parts = torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]), 2 if normals else 1
    turned = [turn @ part for part in x[: 3 * parts].split(3)]
    return torch.cat([*turned, x[3 * parts :]])
