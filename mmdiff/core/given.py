"""Which positions of the first axis (frames) a training sample is given clean, so that one model learns to generate,
to continue, and to fill in.

    none    nothing given                     prefix   the first k, k uniform in 1 .. T - 1
    first   the first                         ends     the first and the last
    some    each with probability p, p uniform in (0, 1)

A given position has t = 0 and no loss. (Masked training of Open-Sora 1.2; levels per frame as in Diffusion Forcing,
Chen et al. 2024.)
"""

import torch
from torch import Tensor

from .rng import Purpose, uniform

KINDS = ("none", "first", "prefix", "ends", "some")


class Given:
    """Shares of the training samples that are given each kind of positions; ``none`` is what they leave of 1."""

    def __init__(self, *, first: float = 0.2, prefix: float = 0.15, ends: float = 0.05, some: float = 0.1):
        shares = [first, prefix, ends, some]
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError(f"first, prefix, ends and some are shares of samples, together at most 1; got {shares}")
        self.probabilities = [1 - sum(shares), *shares]

    def draw(self, u: Tensor, lengths: Tensor, size: int) -> Tensor:
        """``u`` ``(B, 2 + size)`` uniform in (0, 1) -> ``(B, size)`` bool, True where given.

        ``lengths`` ``(B,)`` are the real positions of each sample, never all of which are given; padding after them
        repeats the last, so that it makes no difference to a token that holds both.
        """
        last = lengths[:, None] - 1
        position = torch.minimum(torch.arange(size, device=lengths.device), last)            # (B, size)
        kind = torch.bucketize(u[:, 0].contiguous(), torch.tensor(self.probabilities, dtype=u.dtype).cumsum(0)[:-1])
        p = u[:, 1:2]
        table = torch.stack([
            position < 0, position == 0, position < 1 + torch.floor(p * last), (position == 0) | (position == last),
            u[:, 2:].gather(1, position) < p,
        ])                                                                                   # (kinds, B, size)
        given = table[kind, torch.arange(len(u))]
        return given & ~given.all(1, keepdim=True)

    def clean(self, seed: int, draws: Tensor, lengths: Tensor, size: int) -> Tensor:
        """``(B, size)`` bool: the given positions of latents, fixed by (seed, draw); the rest as for ``draw``."""
        return self.draw(uniform(seed, draws, Purpose.GIVEN, 2 + size), lengths, size)
