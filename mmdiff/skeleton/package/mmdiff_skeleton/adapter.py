"""Series ``(channels, T)``, one a .npy file, and their codec."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmdiff.adapters.base import Count, Reader
from mmdiff.adapters.series.codec import SeriesCodec


class SkeletonReader(Reader):
    """Files to samples: arrays ``(channels, T)`` or ``(T,)``, cropped to ``length``; None reads them whole."""

    suffixes = (".npy",)
    timed = True                                                      # ``read`` keeps to ``span``, for loader.by_time

    def __init__(self, channels: int, *, length: int | None = 64):
        self.channels, self.length = channels, length

    def read(self, path: Path, rng: np.random.Generator | None = None) -> Tensor:
        x = self._open(path)
        x = x[:, slice(*self.span(x.shape[-1]))]
        length = self.length or x.shape[-1]
        if x.ndim != 2 or len(x) != self.channels or x.shape[1] < length or not np.isfinite(x).all():
            raise ValueError(f"{path} holds {x.shape}, not ({self.channels}, at least {length}) finite numbers")
        start = 0 if rng is None else int(rng.integers(x.shape[1] - length + 1))
        return torch.from_numpy(x[:, start : start + length].copy())

    def misfit(self, path: Path, other: Path) -> str | None:          # what ``start`` depends on is alike in both
        found, wanted = (self._open(file).shape[-1] for file in (other, path))
        return f"has {found} positions, and its sample {wanted}" if found != wanted else None

    def _open(self, path: Path) -> np.ndarray:
        try:
            return np.atleast_2d(np.load(path, allow_pickle=False)).astype(np.float32)
        except (OSError, EOFError, TypeError) as error:
            raise ValueError(f"{path} is no array of numbers: {error}") from None


class SkeletonCodec(SeriesCodec):
    """Latents are whitened samples; a size is a ``length`` in positions."""

    suffix = ".npy"

    @property
    def reading(self) -> dict[str, int]:
        return {"channels": self.channels}

    def latent_shape(self, *, length: Count) -> tuple[int]:
        if length < 1 or length != int(length):
            raise ValueError(f"length must be whole and at least 1, got {length}")
        return (int(length),)

    def size(self, sample: Tensor) -> dict[str, float]:
        return {"length": sample.shape[-1]}

    def save(self, sample: Tensor, path: Path) -> Path:
        np.save(path, sample.numpy())
        return path

    def load(self, path: Path, **size: float) -> Tensor:
        return SkeletonReader(self.channels, length=None).read(path)
