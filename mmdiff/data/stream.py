"""The training stream: an endless, seekable sequence of draws.

    draw p  ->  sample  perm(seed, p // N)[p mod N]          N samples, a fresh permutation each epoch
    step s  ->  draws   s B .. (s + 1) B - 1                 B = global batch

Rank r of W takes the r-th W-th of each step. What a step sees depends on (seed, s, B) alone: not on the number of
ranks or workers, nor on whether the run was interrupted, and every sample is seen exactly once an epoch.
"""

from collections.abc import Iterator

import numpy as np

from ..core.rng import Purpose, stream

Key = tuple[int, int]
"""(draw, index of the sample)."""


class Stream:
    """A batch sampler: yields this rank's micro-batches of ``(draw, index)``, from ``start`` (optimizer steps) on."""

    def __init__(
        self, length: int, batch_size: int, *, seed: int, steps: int, start: int = 0, rank: int = 0, world: int = 1,
        accumulate: int = 1,
    ):
        if length < 1:
            raise ValueError("the training set is empty")
        if batch_size % (world * accumulate):
            raise ValueError(
                f"data.batch_size={batch_size} is the batch of one optimizer step over all devices; it must be a "
                f"multiple of {world} device(s) x {accumulate} accumulated batch(es)"
            )
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.start, self.steps, self.rank, self.world, self.accumulate = start, steps, rank, world, accumulate

    def __len__(self) -> int:
        """Micro-batches of the whole run, those before ``start`` included: Lightning counts them so."""
        return self.steps * self.accumulate

    def __iter__(self) -> Iterator[list[Key]]:
        micro = self.batch_size // (self.world * self.accumulate)
        for step in range(self.start, self.steps):
            for part in range(self.accumulate):
                first = step * self.batch_size + (part * self.world + self.rank) * micro
                yield [(draw, self.index(draw)) for draw in range(first, first + micro)]

    def index(self, draw: int) -> int:
        """The sample of a draw."""
        epoch, position = divmod(draw, self.length)
        return int(self._permutation(epoch)[position])

    def _permutation(self, epoch: int) -> np.ndarray:
        cached = getattr(self, "_cached", None)
        if cached is None or cached[0] != epoch:
            self._cached = cached = (epoch, stream(self.seed, epoch, Purpose.ORDER).permutation(self.length))
        return cached[1]
