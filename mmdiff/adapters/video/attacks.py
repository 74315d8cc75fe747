"""What happens to films on their way: coarser files, other sizes and levels, noise, parts, shifts."""

import math
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from ..attacks import Attack, changed
from .reader import read_clip
from .write import write_video

SHORT = 128
"""Pixels of the shorter side that films are written with at least, as when they are saved."""


def attacks(fps: float, channels: int, background: str) -> dict[str, Attack]:
    """By name; ``fps`` in frames per second."""
    coded = partial(_coded, fps=fps, channels=channels, background=background)
    return {
        "H.264, crf 23": partial(coded, suffix=".mp4", crf=23),
        "H.264, crf 32": partial(coded, suffix=".mp4", crf=32),
        "H.264, crf 40": partial(coded, suffix=".mp4", crf=40),
        "GIF": partial(coded, suffix=".gif"),
        "at half the size, and back": changed(_smaller),
        "a tenth brighter": changed(lambda x: (x + 0.2).clamp(-1, 1)),
        "noise, 30 dB below full scale": changed(partial(_noisy, decibels=30)),
        "noise, 20 dB below full scale": changed(partial(_noisy, decibels=20)),
        "half a pixel to the right": changed(partial(_moved, scale=1.0, pixels=0.5)),
        "an eighth cut off around, and enlarged": changed(partial(_moved, scale=7 / 8, pixels=0.0)),
        "without the first quarter": changed(lambda x: x[:, x.shape[1] // 4 :]),
    }


def _noisy(x: Tensor, *, decibels: float) -> Tensor:
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return (x + 2 * 10 ** (-decibels / 20) * noise).clamp(-1, 1)


def _smaller(x: Tensor) -> Tensor:
    size = [max(1, n // 2) for n in x.shape[-2:]]
    return interpolate(interpolate(x, size=size, mode="area"), size=list(x.shape[-2:]), mode="bilinear")


def _moved(x: Tensor, *, scale: float, pixels: float) -> Tensor:
    """Frames ``(C, T, H, W)`` seen through a window of ``scale``, ``pixels`` to the left; edges are repeated."""
    frames = x.movedim(1, 0)
    map_ = torch.tensor([[scale, 0, -2 * pixels / x.shape[-1]], [0, scale, 0]]).expand(len(frames), 2, 3)
    grid = affine_grid(map_, list(frames.shape), align_corners=False)
    return grid_sample(frames, grid, padding_mode="border", align_corners=False).movedim(0, 1)


def _coded(
    sample: Tensor, folder: Path, *, suffix: str, fps: float, channels: int, background: str, crf: int = 18
) -> Tensor:
    height, width = sample.shape[-2:]
    path, upscale = folder / f"coded{suffix}", max(1, math.ceil(SHORT / min(height, width)))
    write_video(sample, path, fps, upscale=upscale, background=background, crf=crf)
    return read_clip(path, height=height, width=width, channels=channels, fps=fps, background=background)
