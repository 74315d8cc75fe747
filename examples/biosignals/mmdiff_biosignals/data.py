"""Vital signs made by code: class = signal, scalar = rate in events per minute; channels are delayed copies."""

import numpy as np
import torch
from torch import Tensor

from mmdiff.core.rng import Purpose, stream
from mmdiff.data.dataset import Dataset

EVENTS = {  # (place in the event, width, height) of its bumps, in turns of the event
    "heart": ((0.20, 0.025, 0.15), (0.36, 0.010, -0.1), (0.40, 0.012, 1.0), (0.44, 0.010, -0.2), (0.70, 0.05, 0.3)),
    "pulse": ((0.35, 0.08, 1.0), (0.60, 0.10, 0.4)),
    "breath": ((0.50, 0.18, 1.0),),
}
RATE = (40.0, 160.0)


class VitalSigns(Dataset):
    """``n`` signals, number i fixed by (``seed``, i); with an ``rng`` its phase is new."""

    def __init__(self, reader, *, n: int = 2000, seed: int = 0):
        self.reader, self.n, self.seed = reader, n, seed
        self.fields = {"signal": tuple(EVENTS), "rate": RATE}

    def __len__(self) -> int:
        return self.n

    def name(self, index: int) -> str:
        return f"signal-{index:05d}"

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, str | float]]:
        sample_rng, reader = stream(self.seed, index, Purpose.DATA), self.reader
        signal, rate = tuple(EVENTS)[index % len(EVENTS)], float(sample_rng.uniform(*RATE))
        phase = (sample_rng if rng is None else rng).uniform()
        turns = np.arange(reader.length) / reader.sample_rate * rate / 60 + phase
        turns = turns - 0.05 * np.arange(reader.channels)[:, None]
        x = sum(h * np.exp(-(((turns - c + 0.5) % 1 - 0.5) ** 2) / (2 * w**2)) for c, w, h in EVENTS[signal])
        return torch.from_numpy(x.astype(np.float32)), {"signal": signal, "rate": rate}
