"""Spectra of sounds compared.

    log-spectral distance   mean over frames of (mean over bins of (L_x - L_y)^2)^(1/2),   L = 10 log10 power    in dB
    long-term spectrum      10 log10 of the mean power of all frames of all clips, relative to its mean over bins

Source: Gray & Markel 1976, eq. 3, with power floored ``FLOOR`` dB below each clip's loudest bin, so that digital
silence does not count as infinitely far.
"""

import torch
from torch import Tensor

WINDOW, HOP, FLOOR = 256, 128, 80.0


def power(waves: Tensor) -> Tensor:
    """``(N, 1, L)`` -> power ``(N, WINDOW / 2 + 1, T)`` of Hann windows."""
    window = torch.hann_window(WINDOW, dtype=torch.float64)
    spectrum = torch.stft(waves[:, 0].double(), WINDOW, HOP, window=window, return_complex=True, pad_mode="constant")
    return spectrum.abs().square()


def decibels(waves: Tensor) -> Tensor:
    """Power spectrograms in dB, floored; silence is 0 everywhere."""
    x = power(waves)
    loudest = x.amax((1, 2), keepdim=True).clamp(min=1e-20)
    return 10 * torch.log10((x / loudest).clamp(min=10 ** (-FLOOR / 10)) * loudest)


def log_spectral_distance(x: Tensor, y: Tensor) -> Tensor:
    """Waves ``(N, 1, L)`` twice -> ``(N,)`` dB; a gain of g dB is a distance of |g| dB."""
    return (decibels(x) - decibels(y)).square().mean(1).sqrt().mean(1)


def mean_power(waves: Tensor) -> Tensor:
    """Power ``(N, F)`` of each clip ``(N, 1, L)`` of peak 1, averaged over its frames."""
    return power(waves / waves.abs().amax((1, 2), keepdim=True).clamp(min=1e-8)).mean(2)


def spectrum_distance(a: Tensor, b: Tensor) -> float:
    """Root mean square difference in dB of the long-term spectra of two sets, from their ``mean_power``."""
    levels = [10 * torch.log10(p.mean(0).clamp(min=1e-20)) for p in (a, b)]
    shapes = [level.clamp(min=float(level.max()) - FLOOR) for level in levels]
    return float((shapes[0] - shapes[0].mean() - shapes[1] + shapes[1].mean()).square().mean().sqrt())
