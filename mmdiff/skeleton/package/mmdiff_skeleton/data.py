"""Waves made by code, to try the adapter on: class = shape, scalar = periods."""

import numpy as np
import torch
from torch import Tensor

from mmdiff.core.rng import Purpose, stream
from mmdiff.data.dataset import Dataset
from mmdiff.data.labels import Label

from .adapter import SkeletonReader

SHAPES = ("sine", "saw")
PERIODS = (1.0, 4.0)


class SkeletonWaves(Dataset):
    """``n`` waves, number i fixed by (``seed``, i); with an ``rng`` its phase is new."""

    def __init__(self, reader: SkeletonReader, *, n: int = 1000, seed: int = 0):
        self.channels, self.length, self.n, self.seed = reader.channels, reader.length or 64, n, seed
        self.fields = {"shape": SHAPES, "periods": PERIODS}

    def __len__(self) -> int:
        return self.n

    def name(self, index: int) -> str:
        return f"wave-{index:05d}"

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        sample_rng = stream(self.seed, index, Purpose.DATA)
        shape, periods = SHAPES[index % 2], float(sample_rng.uniform(*PERIODS))
        phase = (sample_rng if rng is None else rng).uniform(size=(self.channels, 1))
        turns = np.arange(self.length) / self.length * periods + phase
        wave = np.sin(2 * np.pi * turns) if shape == "sine" else 2 * (turns % 1) - 1
        return torch.from_numpy(wave.astype(np.float32)), {"shape": shape, "periods": periods}
