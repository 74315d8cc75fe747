"""What can be measured of a sound without a model.

    n(lag) = 2 sum_t x_t x_(t+lag) / sum_t (x_t^2 + x_(t+lag)^2)        in [-1, 1], 1 at a period

The period is the first peak of n that is nearly as high as the highest (McLeod & Wyvill 2005). n is computed by FFT
and interpolated by zero-padding its spectrum, so that periods of a few samples are found to a few cents.
"""

import numpy as np
from torch import Tensor

OVERSAMPLING = 8


def pitch(
    sample: Tensor, sample_rate: int, *, low: float = 60.0, high: float = 1500.0, clarity: float = 0.5
) -> float:
    """Fundamental frequency in Hz of one note ``(1, L)``: weighted median over frames; NaN if nothing is periodic.

    ``low`` and ``high`` (Hz) bound the search; frames whose peak is below ``clarity`` do not count, nor do those more
    than 40 dB below the loudest.
    """
    x = sample.detach().double().cpu().numpy().reshape(-1)
    size = int(6 * sample_rate / low)
    if len(x) < size // 2 or not x.any():
        return float("nan")
    x = np.pad(x, (0, max(0, size - len(x))))
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[:: size // 4]
    energy = np.square(frames).sum(1)
    found = np.array([_period(f, sample_rate, low, high) for f in frames[energy > 1e-4 * energy.max()]])
    frequency, height = found[found[:, 1] > clarity].T
    if not len(frequency):
        return float("nan")
    order = frequency.argsort()
    weight = np.cumsum(height[order] ** 8)                            # clean frames decide
    return float(frequency[order][np.searchsorted(weight, weight[-1] / 2)])


def _period(x: np.ndarray, sample_rate: int, low: float, high: float) -> tuple[float, float]:
    """Frequency (Hz) and height of the best peak of one frame; (nan, 0) without one."""
    x = x - x.mean()
    power = np.abs(np.fft.rfft(x, 2 * len(x))) ** 2
    correlation = np.fft.irfft(power, 2 * len(x) * OVERSAMPLING)[: len(x) * OVERSAMPLING] * OVERSAMPLING
    energy = np.cumsum(x**2)
    lags = np.arange(len(correlation)) / OVERSAMPLING
    kept = np.interp(len(x) - 1 - lags, np.arange(len(x)), energy)
    lost = np.interp(lags - 1, np.arange(len(x)), energy, left=0.0)
    n = 2 * correlation / np.maximum(kept + energy[-1] - lost, 1e-12)
    first, last = int(OVERSAMPLING * sample_rate / high), int(OVERSAMPLING * sample_rate / low)
    middle = n[first : last + 1]
    peaks = first + np.flatnonzero((middle[1:-1] >= middle[:-2]) & (middle[1:-1] > middle[2:])) + 1
    if not len(peaks) or n[peaks].max() <= 0:
        return float("nan"), 0.0
    best = peaks[n[peaks] >= 0.9 * n[peaks].max()][0]
    a, b, c = n[best - 1 : best + 2]
    offset = 0.5 * (a - c) / (a - 2 * b + c)
    return OVERSAMPLING * sample_rate / (best + offset), float(b)


def cents(heard: float, meant: float) -> float:
    """How far ``heard`` is above ``meant``, both in Hz; 100 cents are a semitone."""
    return float(1200 * np.log2(heard / meant))


def rms(sample: Tensor) -> float:
    """Root mean square level; 1 is a full-scale square wave."""
    return float(sample.double().square().mean().sqrt())


def spectral_flatness(sample: Tensor) -> float:
    """Geometric over arithmetic mean of the power spectrum, in [0, 1]: 0 for a tone, 0.56 for white noise."""
    power = sample.double().reshape(-1).cpu().numpy()
    power = np.abs(np.fft.rfft(power)) ** 2 + 1e-12
    return float(np.exp(np.log(power).mean()) / power.mean())


def silent(sample: Tensor, *, below: float = 1e-3) -> float:
    """Share of samples whose absolute value is less than ``below``."""
    return float((sample.abs() < below).double().mean())


def clipped(sample: Tensor, *, above: float = 0.999) -> float:
    """Share of samples whose absolute value is at least ``above``."""
    return float((sample.abs() >= above).double().mean())
