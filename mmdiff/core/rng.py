"""Randomness as a function: every number is fixed by (seed, draw, purpose, part), and by nothing else.

    Philox 4x64-10 (Salmon et al. 2011), key = seed, counter = (0, part, draw, purpose)

A *draw* is the number of a sample in the training stream (or of an item in a generation job), so one process or eight,
a resumed run or a straight one, and any batch composition see the same noise. Torch's CPU generator cannot serve here:
it keeps 32 bits of its seed, and keys would collide after some ten thousand draws.
"""

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
    WORDS = 10         # which of its captions a training sample is told, and in what order its tags are
    MARK = 11          # noise and patterns of marks, keyed by a secret
    JUMP = 12          # where a jump that is learned begins and ends, and its guidance scale
    PATH = 13          # the noise that a path of a teacher begins with, and what that is told


def stream(seed: int, draw: int, purpose: Purpose, part: int = 0) -> np.random.Generator:
    """The generator of one key; ``seed``, ``draw`` and ``part`` are integers of up to 64 bits."""
    counter = [0, part % 2**64, draw % 2**64, int(purpose)]
    return np.random.Generator(np.random.Philox(key=seed % 2**64, counter=counter))


def uniform(seed: int, draws: Tensor, purpose: Purpose, count: int = 1) -> Tensor:
    """``(B, count)`` float64 in the open interval (0, 1), row i fixed by ``draws[i]``."""
    rows = [stream(seed, draw, purpose).random(count) for draw in draws.tolist()]
    return torch.from_numpy(np.stack(rows)).clamp_(2.0**-54, 1 - 2.0**-53)


def normal(seeds: int | list[int], draws: Tensor, purpose: Purpose, like: Masked, part: int = 0) -> Tensor:
    """Standard normal float32 of the shape and device of ``like.x``, row i fixed by its seed and ``draws[i]``.

    A row is drawn at the extent of its real part, so padding (whatever else is in the batch) does not change it.
    """
    x, mask = like
    seeds = [seeds] * len(x) if isinstance(seeds, int) else seeds
    noise = np.zeros(x.shape, dtype=np.float32)
    for i, draw in enumerate(draws.tolist()):
        generator = stream(seeds[i], draw, purpose, part)
        extent = x.shape[2:] if mask is None else _extent(mask[i, 0])
        if extent == x.shape[2:]:
            generator.standard_normal(dtype=np.float32, out=noise[i])
        else:
            box = (slice(None), *(slice(n) for n in extent))
            noise[i][box] = generator.standard_normal((x.shape[1], *extent), dtype=np.float32)
    return torch.from_numpy(noise).to(x.device)


def _extent(mask: Tensor) -> tuple[int, ...]:
    """The smallest box from the origin that holds every True of ``mask`` ``(*S)``."""
    where = mask.nonzero()
    return tuple((where.amax(0) + 1).tolist()) if len(where) else (0,) * mask.ndim
