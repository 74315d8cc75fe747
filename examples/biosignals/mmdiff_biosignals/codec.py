"""Files of signals ``(channels, T)`` at a sample rate (Hz), and their codec: each channel whitened on its own."""

from pathlib import Path

import numpy as np
import torch
from scipy.signal import resample
from torch import Tensor

from mmdiff.adapters.base import Amount, Reader
from mmdiff.adapters.series.codec import SeriesCodec


class SignalReader(Reader):
    """CSV (a column a channel) or NPZ (``signal`` ``(channels, T)``, its ``sample_rate``); None reads whole files."""

    suffixes = (".npz", ".csv")
    timed = True

    def __init__(self, channels: int, sample_rate: float, *, seconds: float | None = 4.0):
        self.channels, self.sample_rate = channels, sample_rate
        self.length = None if seconds is None else round(seconds * sample_rate)

    def read(self, path: Path, rng: np.random.Generator | None = None) -> Tensor:
        x = self._open(Path(path))
        x = x[:, slice(*self.span(x.shape[-1]))]
        length = self.length or x.shape[-1]
        if len(x) != self.channels or not 0 < length <= x.shape[1] or not np.isfinite(x).all():
            raise ValueError(f"{path} holds {x.shape}, not {self.channels} finite signal(s) of at least {length}")
        start = 0 if rng is None else int(rng.integers(x.shape[1] - length + 1))
        return torch.from_numpy(x[:, start : start + length].astype(np.float32))

    def misfit(self, path: Path, other: Path) -> str | None:
        found, wanted = (self._open(Path(file)).shape[-1] for file in (other, path))
        return f"has {found} positions, and its sample {wanted}" if found != wanted else None

    def _open(self, path: Path) -> np.ndarray:
        try:
            if path.suffix.lower() == ".csv":
                x = np.genfromtxt(path, delimiter=",", ndmin=2)
                return x[int(np.isnan(x[:1]).all()) :].T              # a first line of names is NaN
            with np.load(path, allow_pickle=False) as file:
                x, rate = np.atleast_2d(file["signal"]), float(file.get("sample_rate", self.sample_rate))
        except (KeyError, OSError, EOFError, TypeError) as error:
            raise ValueError(f"{path} holds no signal: {error}") from None
        return x if rate == self.sample_rate else resample(x, round(x.shape[1] * self.sample_rate / rate), axis=1)


class SignalCodec(SeriesCodec):
    """Latents are whitened signals; a size is in seconds."""

    suffix = ".npz"

    def __init__(self, channels: int = 1, *, sample_rate: float = 64.0):
        super().__init__(channels, rate=sample_rate)
        self.sample_rate = self.rate

    @property
    def reading(self) -> dict[str, float]:
        return {"channels": self.channels, "sample_rate": self.sample_rate}

    def latent_shape(self, *, seconds: Amount) -> tuple[int]:
        if not (length := round(seconds * self.sample_rate)) > 0:
            raise ValueError(f"seconds must be positive, got {seconds}")
        return (length,)

    def size(self, sample: Tensor) -> dict[str, float]:
        return {"seconds": sample.shape[-1] / self.sample_rate}

    def save(self, sample: Tensor, path: Path) -> Path:
        np.savez(path, signal=sample.numpy(), sample_rate=self.sample_rate)
        return path

    def load(self, path: Path, **size: float) -> Tensor:
        return SignalReader(self.channels, self.sample_rate, seconds=None).read(path)
