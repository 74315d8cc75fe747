"""Notes made by code, of which the truth is known: the data of the demo.

    y(t) = envelope(t) sum_k a_k e^(-d_k t) sin(2 pi (r_k c(t) + p_k)) + breath(t),     c(t) = int_0^t f(u) du

    plucked   r_k = k, a_k = sin(pi k s) / k with the string plucked at s, d_k grows with k (as Karplus-Strong damps)
    blown     r_k = k, a_k falls fast and odd ones lead, no decay, slow attack, vibrato in f, breath noise
    struck    r_k = 1, 2.756, 5.404, 8.933 (free bar, Fletcher & Rossing 1998, eq. 2.64), d_k ~ r_k
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...core.rng import Purpose, stream
from ...data.dataset import Dataset
from ...data.labels import Label
from .io import AudioReader

INSTRUMENTS = ("blown", "plucked", "struck")
BAR = np.array([1.0, 2.756, 5.404, 8.933])
PARTIALS = 24
RELEASE = 0.02
"""Seconds of the fade at the end of a note."""


class Voice(NamedTuple):
    """Partials of one note: ``ratio``, ``gain`` and ``decay`` (1/s) ``(K,)``; the rest are scalars."""

    ratio: np.ndarray
    gain: np.ndarray
    decay: np.ndarray
    attack: float
    """Seconds to full level."""
    vibrato: tuple[float, float]
    """Hz and semitones."""
    breath: float
    """Level of the noise against the tone."""


class Notes(Dataset):
    """``n`` notes with the fields ``instrument`` and ``pitch`` (MIDI number, any real in [``low``, ``high``]).

    Note i is fixed by (``seed``, i); its instrument goes round, its pitch and touch are drawn. Rate and length come
    from the reader, which must name its ``seconds``; notes peak at 0.9, or at the reader's ``peak``.
    """

    def __init__(self, reader: AudioReader, *, n: int = 2000, low: float = 48, high: float = 72, seed: int = 0):
        if reader.seconds is None:
            raise ValueError("Notes must know how long a note is: set adapter.reader.seconds, such as 1.0")
        if n < 1:
            raise ValueError(f"n is the number of notes, at least 1; got {n}")
        if not 0 <= low < high or frequency(high) >= reader.sample_rate / 4:
            raise ValueError(
                f"need 0 <= low < high, and high below a quarter of the sample rate ({reader.sample_rate / 4:g} Hz); "
                f"got MIDI {low} to {high} ({frequency(high):.0f} Hz)"
            )
        self.n, self.low, self.high, self.seed = n, float(low), float(high), seed
        self.sample_rate, self.seconds, self.peak = reader.sample_rate, reader.seconds, reader.peak or 0.9
        self.fields = {"instrument": list(INSTRUMENTS), "pitch": (self.low, self.high)}

    def __len__(self) -> int:
        return self.n

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        """Note ``(1, L)`` and its labels; nothing is left for ``rng`` to choose."""
        note = stream(self.seed, index, Purpose.DATA)
        instrument, number = self._asked(index, note)
        return self.played(instrument, number, note), {"instrument": instrument, "pitch": number}

    def played(self, instrument: str, pitch: float, rng: np.random.Generator) -> Tensor:
        """A note ``(1, L)`` of the data's rate, length and peak."""
        y = play(instrument, pitch, self.sample_rate, round(self.seconds * self.sample_rate), rng=rng)
        return torch.from_numpy(y * (self.peak / np.abs(y).max()))[None].float()

    def name(self, index: int) -> str:
        return f"note-{index:05d}"

    def column(self, index: int) -> dict[str, Label]:
        instrument, number = self._asked(index, stream(self.seed, index, Purpose.DATA))
        return {"instrument": instrument, "pitch": number}

    def report(self) -> dict:
        return {"made": self.n, "seed": self.seed, "skipped": []}

    def _asked(self, index: int, note: np.random.Generator) -> tuple[str, float]:
        return INSTRUMENTS[index % len(INSTRUMENTS)], float(note.uniform(self.low, self.high))


def frequency(pitch: float) -> float:
    """Hz of a MIDI number: 69 is 440 Hz."""
    return 440.0 * 2 ** ((pitch - 69) / 12)


def play(
    instrument: str, pitch: float, sample_rate: int, size: int, *, rng: np.random.Generator
) -> np.ndarray:
    """One note ``(size,)``; ``rng`` draws touch, vibrato and noise."""
    voice = _voice(instrument, rng)
    t = np.arange(size) / sample_rate
    rate, depth = voice.vibrato
    swing = depth / 12 * np.log(2) / (2 * np.pi * rate)               # seconds
    cycles = frequency(pitch) * (t - swing * np.cos(2 * np.pi * (rate * t + rng.random())))
    heard = voice.ratio * frequency(pitch) < 0.45 * sample_rate
    ratio, gain, decay = voice.ratio[heard, None], voice.gain[heard, None], voice.decay[heard, None]
    turns = ratio * cycles + rng.random(ratio.shape)
    turns -= np.floor(turns)                                          # so that float32 is enough for the sine
    waves = np.sin((2 * np.pi * turns).astype(np.float32))
    y = (gain * np.exp(-decay * t).astype(np.float32) * waves).sum(0)
    if voice.breath:
        y = y + voice.breath * np.abs(gain).sum() * _breath(size, rng)
    ends = np.minimum(t / voice.attack, (size / sample_rate - t) / RELEASE)
    return y * np.sin(0.5 * np.pi * ends.clip(0, 1)) ** 2


def _voice(instrument: str, rng: np.random.Generator) -> Voice:
    touch, k = rng.random(), np.arange(1, PARTIALS + 1)
    if instrument == "plucked":
        decay = (2 + touch) * (1 + 0.02 * k**2)
        return Voice(k, np.sin(np.pi * k * (0.12 + 0.2 * touch)) / k, decay, 0.003, (5.0, 0.0), 0.0)
    if instrument == "blown":
        k = k[:7]
        gain = np.where(k % 2, 1.0, 0.3) * (0.35 + 0.2 * touch) ** (k - 1)
        return Voice(k, gain, 0.0 * k, 0.08 + 0.08 * touch, (4.5 + rng.random(), 0.15), 0.03 + 0.03 * touch)
    if instrument == "struck":
        gain = np.array([1.0, 0.5, 0.3, 0.2]) * (0.5 + touch) ** np.arange(4)
        return Voice(BAR, gain, 4 * BAR, 0.002, (5.0, 0.0), 0.0)
    raise ValueError(f"no instrument {instrument!r}; there are {', '.join(INSTRUMENTS)}")


def _breath(size: int, rng: np.random.Generator) -> np.ndarray:
    """White noise without its lowest part: the first difference, of unit variance."""
    noise = rng.standard_normal(size + 1, dtype=np.float32)
    return np.diff(noise) / np.sqrt(2, dtype=np.float32)
