"""Randomness as a function: every number is fixed by (seed, draw, purpose, part), and by nothing else.

    Philox 4x64-10 (Salmon et al. 2011), key = seed, counter = (0, part, draw, purpose)

A *draw* is the number of a sample in the training stream (or of an item in a generation job), so one process or eight,
a resumed run or a straight one, and any batch composition see the same noise. Torch's CPU generator cannot serve here:
it keeps 32 bits of its seed, and keys would collide after some ten thousand draws.
"""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from .types import Masked


class Purpose(IntEnum):
    """What a number is for; streams of different purposes never meet."""

    ORDER = 0          # the permutation of an epoch
    AUGMENT = 1        # crops and augmentation of a training sample
    NOISE = 2          # eps of the training loss
    TIME = 3           # t of the training loss
    DROP = 4           # which labels are hidden
    VALIDATION = 5     # eps of the validation loss
    START = 6          # the noise that generation starts from
    INJECT = 7         # the noise that stochastic samplers add; part = index of the injection
    DATA = 8           # built-in data made by code
    GIVEN = 9          # which positions a training sample is given clean
    WORDS = 10         # how a caption is worded: which of several, the order of tags, strange words
    MARK = 11          # noise and patterns of marks, keyed by a secret
    JUMP = 12          # where a jump that is learned begins and ends, and its guidance scale
    PATH = 13          # the noise that a path of a teacher begins with, and what that is told


def stream(seed: int, draw: int, purpose: Purpose, part: int = 0) -> np.random.Generator:
    """The generator of one key; ``seed``, ``draw`` and ``part`` are integers of up to 64 bits."""
    counter = [0, part % 2**64, draw % 2**64, int(purpose)]
    return np.random.Generator(np.random.Philox(key=seed % 2**64, counter=counter))


class _Streams:
    """One generator that goes from key to key: to make one takes longer than most of what is drawn from it."""

    def __init__(self) -> None:
        self.bits = np.random.Philox(key=0)
        self.generator, self.state = np.random.Generator(self.bits), self.bits.state

    def __call__(self, seed: int, draw: int, purpose: Purpose, part: int = 0) -> np.random.Generator:
        """As ``stream``, until the next call."""
        self.state["state"]["key"][:] = seed % 2**64, 0
        self.state["state"]["counter"][:] = 0, part % 2**64, draw % 2**64, int(purpose)
        self.bits.state = self.state
        return self.generator


def uniform(seed: int, draws: Tensor, purpose: Purpose, count: int = 1) -> Tensor:
    """``(B, count)`` float64 in the open interval (0, 1), row i fixed by ``draws[i]``."""
    streams, rows = _Streams(), np.empty((len(draws), count))
    for row, draw in zip(rows, draws.tolist(), strict=True):
        streams(seed, draw, purpose).random(out=row)
    return torch.from_numpy(rows).clamp_(2.0**-54, 1 - 2.0**-53)


def normal(seeds: int | list[int], draws: Tensor, purpose: Purpose, like: Masked, part: int = 0) -> Tensor:
    """Standard normal float32 of the shape and device of ``like.x``, row i fixed by its seed and ``draws[i]``.

    A row is drawn at the extent of its real part, so padding (whatever else is in the batch) does not change it.
    """
    extents = None if like.mask is None else [_extent(mask[0]) for mask in like.mask]
    return normal_at(seeds, draws, purpose, like.x.shape, extents, part).to(like.x.device)


def normal_at(
    seeds: int | list[int], draws: Tensor, purpose: Purpose, shape: Sequence[int],
    extents: Sequence[Sequence[int]] | None = None, part: int = 0,
) -> Tensor:
    """As ``normal``, on the host, of a ``shape`` ``(B, C, *S)`` and what is real of each sample, ``*S`` (None: all)."""
    seeds = [seeds] * len(draws) if isinstance(seeds, int) else seeds
    streams, noise = _Streams(), np.zeros(tuple(shape), dtype=np.float32)
    for i, draw in enumerate(draws.tolist()):
        generator = streams(seeds[i], draw, purpose, part)
        extent = tuple(shape[2:]) if extents is None else tuple(extents[i])
        if extent == tuple(shape[2:]):
            generator.standard_normal(dtype=np.float32, out=noise[i])
        else:
            box = (slice(None), *(slice(n) for n in extent))
            noise[i][box] = generator.standard_normal((shape[1], *extent), dtype=np.float32)
    return torch.from_numpy(noise)


def _extent(mask: Tensor) -> tuple[int, ...]:
    """The smallest box from the origin that holds every True of ``mask`` ``(*S)``."""
    where = mask.nonzero()
    return tuple((where.amax(0) + 1).tolist()) if len(where) else (0,) * mask.ndim
