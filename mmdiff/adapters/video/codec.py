"""Frames to whitened pixels and back.

    latent = (pixel - mean) / std,      mean of each channel and one std over every real pixel of the training set

Pixels are in [-1, 1]. One std, not one a channel: the strength of a colour against the others is part of the picture.
This is also where a learned autoencoder would sit: latents with other channels and fewer, smaller frames.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.types import Masked
from ..base import Codec
from .reader import read_clip
from .sheet import contact_sheet
from .write import write_video

SHOWN = 128
"""Pixels of the shorter side that a written clip has at least: smaller ones are enlarged by a whole factor."""


class PixelCodec(Codec):
    """Samples ``(B, C, T, H, W)`` in [-1, 1] <-> latents of the same shape; ``channels`` 3, or 1 for grey.

    ``fps`` is the frame rate (frames per second) that clips are read, made and written at.
    """

    suffix = ".mp4"

    def __init__(self, channels: int = 3, *, fps: float = 8.0):
        super().__init__()
        if channels not in (1, 3):
            raise ValueError(f"channels is 3 (colour) or 1 (grey), got {channels}")
        if not 0 < fps <= 1000:
            raise ValueError(f"fps is in frames per second, above 0 and at most 1000; got {fps}")
        self.channels, self.fps = channels, float(fps)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.tensor(1.0))

    @property
    def reading(self) -> dict[str, Any]:
        return {"channels": self.channels, "fps": self.fps}

    def whiten(self, features: Masked) -> Masked:
        x = (features.x - self._mean(features.x)) / self.std
        return Masked(x if features.mask is None else torch.where(features.mask, x, 0), features.mask)

    def decode(self, latents: Masked) -> Masked:
        x = (latents.x.float() * self.std + self._mean(latents.x)).clamp(-1, 1)
        return Masked(x if latents.mask is None else torch.where(latents.mask, x, 0), latents.mask)

    def latent_shape(
        self, *, height: float, width: float, frames: float | None = None, seconds: float | None = None
    ) -> tuple[int, int, int]:
        """``(T, H, W)``; ``seconds``, if told, goes before ``frames``."""
        if seconds is not None:
            frames = max(1, round(seconds * self.fps)) if 0 < seconds < math.inf else 0
        size = tuple(int(n or 0) for n in (frames, height, width))
        if min(size) < 1 or size != (int(frames or 0), height, width):
            raise ValueError(
                f"frames (or seconds), height and width must be whole and positive, got frames={frames}, "
                f"seconds={seconds}, height={height}, width={width}"
            )
        return size

    def size(self, sample: Tensor) -> dict[str, float]:
        return dict(zip(("frames", "height", "width"), sample.shape[1:], strict=True))

    @torch.no_grad()
    def measure(self, features: Iterable[Masked]) -> None:
        """Measure mean and std. Raises ``ValueError`` where there is nothing, or one colour alone, to measure."""
        count, first, second = 0, torch.zeros(self.channels, dtype=torch.float64), 0.0
        for batch in features:
            mask = torch.ones_like(batch.x[:, :1], dtype=torch.bool) if batch.mask is None else batch.mask
            x = torch.where(mask, batch.x, 0).double().cpu()
            count += int(mask.sum())
            first += x.transpose(0, 1).flatten(1).sum(1)
            second += float(x.square().sum())
        mean = first / max(count, 1)
        variance = second / max(count * self.channels, 1) - float(mean.square().mean())
        if variance < 1e-8:
            raise ValueError("whitening needs pictures: the training set holds no frames, or all pixels are alike")
        self.mean.copy_(mean)
        self.std.fill_(math.sqrt(variance))

    def save(self, sample: Tensor, path: Path) -> Path:
        return write_video(sample, path, self.fps, upscale=max(1, math.ceil(SHOWN / min(sample.shape[-2:]))))

    def load(self, path: Path, *, height: float, width: float, **size: float) -> Tensor:
        return read_clip(path, fps=self.fps, height=int(height), width=int(width), channels=self.channels)

    def preview(self, samples: list[Tensor], titles: list[str], path: Path) -> Path:
        return contact_sheet(samples, titles, path)

    def _mean(self, like: Tensor) -> Tensor:
        return self.mean.reshape(-1, *(1,) * (like.ndim - 2))
