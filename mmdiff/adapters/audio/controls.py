"""Maps of sounds as spectrograms: how loud each frame is, where something begins, what is left below some frequency.

    Loudness    ln sum_f exp(log-mel_f) / 5 + 1                          a step of 1 is 43 dB
    Onsets      mean_f max(0, log-mel_f(t) - log-mel_f(t - 1)) / 2       spectral flux (Böck & Widmer 2013)
    LowBands    the lowest mel bands
"""

import torch
from torch import Tensor

from ..base import Count
from ..controls import Control


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
