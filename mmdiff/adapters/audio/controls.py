"""Maps of sounds as spectrograms: how loud each frame is, where something begins, what is left below some frequency.

    Loudness    ln sum_f exp(log-mel_f) / 5 + 1                          a step of 1 is 43 dB
    Onsets      mean_f max(0, log-mel_f(t) - log-mel_f(t - 1)) / 2       spectral flux (Böck & Widmer 2013)
    LowBands    the lowest mel bands
    Pitch       argmax_p <sqrt(mel), tone_p>,   tone_p = sqrt(mel of harmonics 1 / k of the pitch p), of unit length
"""

from functools import cached_property
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from ..base import Count
from ..controls import Control
from .mel import MelSpec

STEP = 0.25
"""Semitones between pitches that are tried."""
NOISE, TONE = -0.08, 0.12
"""By how much more the best tone is like a frame than what all tones have in common: of white noise -0.09, of speech
0 to 0.07, of notes 0.2 and more."""


class Loudness(Control):
    """The course of the level, whatever sounds."""

    width = 1

    def __init__(self, channels: int):
        self.channels = channels

    def __call__(self, features: Tensor, latents: Tensor) -> Tensor:
        return torch.logsumexp(features, 1, keepdim=True) / 5 + 1


class Onsets(Control):
    """Where something begins, and how suddenly: a rhythm, whatever it is played with."""

    width = 1

    def __init__(self, channels: int):
        self.channels = channels

    def __call__(self, features: Tensor, latents: Tensor) -> Tensor:
        before = torch.cat([features[..., :1], features[..., :-1]], -1)
        return (features - before).clamp(min=0).mean(1, keepdim=True) / 2


class LowBands(Control):
    """The lowest ``bands`` of a spectrogram: a model that adds the upper ones to old or narrow recordings."""

    def __init__(self, channels: int, *, bands: Count = 16):
        if bands >= channels:
            raise ValueError(f"bands is how many of the {channels} mel bands are told, fewer than all; got {bands}")
        self.width = bands

    def __call__(self, features: Tensor, latents: Tensor) -> Tensor:
        return latents[:, : self.width]


class Pitch(Control):
    """Which pitch sounds in each frame: in octaves from middle C, between the MIDI numbers ``low`` and ``high``, and
    how clearly, from 0 for noise to 1 for a tone, which the pitch is multiplied with.

    ``spectrum`` is from the codec. A tone whose partials are no harmonics has the pitch that fits them best.
    """

    width = 2

    def __init__(
        self, channels: int, *, spectrum: MelSpec | None = None, low: Annotated[float, Ge(20)] = 40.0,
        high: Annotated[float, Le(110)] = 84.0,
    ):
        if spectrum is None:
            raise ValueError("a pitch is read off a log-mel spectrogram, and this codec makes none: adapter=audio does")
        if not low < high:
            raise ValueError(f"need low < high, two MIDI numbers; got {low:g} and {high:g}")
        self.spectrum, self.low, self.high = spectrum, low, high

    @cached_property
    def tones(self) -> tuple[Tensor, Tensor]:
        """The pitches ``(P,)`` that are tried, and what tones of them are like ``(P, n_mels)``."""
        pitches = torch.arange(self.low, self.high, STEP)
        return pitches, _tones(self.spectrum, 440 * 2 ** ((pitches - 69) / 12))

    def __call__(self, features: Tensor, latents: Tensor) -> Tensor:
        pitches, tones = (x.to(features) for x in self.tones)
        level = (features.exp() - self.spectrum.floor).clamp(min=0) ** (0.5 / self.spectrum.power)
        shape = _unit(level.mT).mT                                                # (B, n_mels, T)
        likeness, found = (tones @ shape).max(1, keepdim=True)
        usual = _unit(tones.mean(0, keepdim=True)) @ shape
        clear = ((likeness - usual - NOISE) / (TONE - NOISE)).clamp(0, 1)
        clear = torch.where(level.any(1, keepdim=True), clear, 0)
        return torch.cat([(pitches[found] - 60) / 12 * clear, clear], 1)


def _tones(spectrum: MelSpec, frequencies: Tensor) -> Tensor:
    """What tones of these frequencies in Hz are like ``(P, n_mels)``: square roots of levels, of unit length."""
    bins = torch.linspace(0, spectrum.sample_rate / 2, spectrum.n_fft // 2 + 1)
    width, partial = 1.5 * spectrum.sample_rate / spectrum.n_fft, torch.arange(1, 41)[:, None, None]
    levels = (torch.exp(-(((bins - partial * frequencies[:, None]) / width) ** 2)) / partial).sum(0)
    return _unit((levels**spectrum.power @ spectrum.basis().T).clamp(min=0) ** (0.5 / spectrum.power))


def _unit(x: Tensor) -> Tensor:
    """Of length 1 along the last axis; silence stays 0."""
    return x / x.norm(dim=-1, keepdim=True).clamp(min=1e-6)
