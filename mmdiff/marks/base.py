"""A mark: what tells a generated sample again after its metadata are gone.

    embed_noise      the noise that generation starts from
    embed_latent     the latent before it is decoded
    embed_sample     the decoded sample before it is written: the door for marks that other programs trained
    score            how strongly a sample looks like one of several that may have been made

Each of the three changes nothing unless a mark says otherwise. A mark sees a model's codec, schedule and denoiser, and
nothing of its modality.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from scipy.special import ndtri_exp
from torch import Tensor

from ..adapters.base import Codec
from ..core.schedules import Schedule
from ..core.types import Denoise


class Source(NamedTuple):
    """What a mark may see of the model that a sample may be from; ``denoise`` is told no labels, and both it and the
    codec work on ``device``."""

    codec: Codec
    schedule: Schedule
    denoise: Denoise
    device: torch.device


class Candidate(NamedTuple):
    """A sample that may have been made: its seed, and the size ``*S`` of its latent."""

    seed: int
    shape: tuple[int, ...]


class Found(NamedTuple):
    """The likeliest of what was looked for.

    ``log_rate`` is the natural logarithm of the false-positive rate: of the chance, at most, that any of ``tests``
    comparisons with what a sample was *not* made with gives as much.
    """

    log_rate: float
    tests: int
    facts: dict[str, Any]
    """What it was compared with: ``seed``, ``message`` and such."""

    @property
    def z(self) -> float:
        """The same for a single comparison, as standard deviations of N(0, 1)."""
        return -float(ndtri_exp(min(self.log_rate - math.log(self.tests), -1e-300)))

    @property
    def rate(self) -> float:
        """The false-positive rate; 0 where it is below the least number there is."""
        return min(1.0, math.exp(min(self.log_rate, 0.0)))


class Mark(ABC):
    """A value: it holds its constructor's arguments. What is random in it is fixed by secret, seed and draw."""

    embeds: bool = True
    """Whether it does anything to a sample; what does not stands in no record."""
    key: str | None = None
    """A short hash by which two secrets are told apart."""
    bits: int = 0
    """Length of the message that ``score`` reads."""
    message: str = ""
    """What is embedded, in ``bits`` / 4 hexadecimal digits."""

    @property
    def name(self) -> str:
        """Its word: that of its class in small letters, without Mark."""
        return type(self).__name__.removesuffix("Mark").lower()

    def index(self, seed: int) -> int:
        """The seed that stands for all that the mark does not tell from it."""
        return seed

    def embed_noise(self, noise: Tensor, seeds: Sequence[int], draw: int) -> Tensor:
        """Standard normal noise ``(B, C, *S)`` of samples with these ``seeds``; what is given back is as normal."""
        return noise

    def embed_latent(self, latents: Tensor, seeds: Sequence[int], draw: int) -> Tensor:
        """Finished latents ``(B, C, *S)``, whitened."""
        return latents

    def embed_sample(self, sample: Tensor, seed: int, codec: Codec) -> Tensor:
        """A finished sample ``(C, *S)`` on the CPU, as ``codec`` decoded it."""
        return sample

    @abstractmethod
    def score(
        self, samples: Sequence[Tensor], source: Source, candidates: Sequence[Sequence[Candidate]], *, shifts: int = 0
    ) -> list[Found]:
        """Of each sample ``(C, *S)``, as it was read from its file, the likeliest of its candidates; ``facts`` have the
        ``message`` that was read.

        ``shifts`` positions of the latent's first axis are tried beyond those at which the shorter of the two lies
        within the longer.
        """
