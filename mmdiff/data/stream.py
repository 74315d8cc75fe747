"""The training stream: an endless, seekable sequence of draws.

    bucket k holds n_k samples of one shape, and a step that takes from it takes B_k of them
    step s  ->  the bucket that is least far through its samples (least drawn_k / n_k, then least k)
    p-th draw from bucket k  ->  its sample  perm(seed, k, p // n_k)[p mod n_k]        a fresh permutation each epoch

A data set in parts gives each its share of every step, to the sample (c_kp of B_k, rounded), spread evenly over it:

    j-th draw of part p in the m-th step of bucket k  ->  position m c_kp + j of the part's own epochs

With one bucket and one part that is: draw p is sample perm(p // N)[p mod N], and step s has the draws s B ..
(s + 1) B - 1. Rank r of W takes the r-th W-th of each step. What a step sees depends on (seed, s, B) alone: not on the
number of ranks or workers, nor on whether the run was interrupted, and every sample is seen exactly once an epoch of
its bucket and part.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, islice, pairwise
from typing import NamedTuple

import numpy as np

from ..core.rng import Purpose, stream

Key = tuple[int, int]
"""(draw, index of the sample)."""
Shape = tuple[int, ...] | None
"""The extent of a sample; None where a data set does not say."""


class Step(NamedTuple):
    """What an optimizer step takes: ``size`` draws from ``bucket``, the first of them number ``draw`` of the run and
    number ``position`` of the bucket."""

    bucket: int
    size: int
    draw: int
    position: int


class Turn(NamedTuple):
    """A sample of a step: it is number ``number`` of the ``total`` that a ``part`` of the data set has in the step."""

    part: int
    number: int
    total: int


class Stream:
    """A batch sampler: yields this rank's ``(draw, index)`` of each optimizer step, from ``start`` on.

    ``shapes`` has one entry a sample, or is their number where all are alike; ``batch_size`` is the size of a step, or
    that of each shape. ``parts`` are numbers of samples that belong together, in order, with their shares of a step.
    Raises ``ValueError`` where a step cannot be shared out among ``world`` ranks, each of which takes its part in
    ``accumulate`` passes, or among the parts.
    """

    def __init__(
        self, shapes: int | Sequence[Shape], batch_size: int | Mapping[Shape, int], *, seed: int, steps: int,
        start: int = 0, rank: int = 0, world: int = 1, accumulate: int = 1,
        parts: Sequence[tuple[int, float]] | None = None,
    ):
        shapes = [None] * shapes if isinstance(shapes, int) else list(shapes)
        if not shapes:
            raise ValueError("the training set is empty")
        kinds = sorted(set(shapes), key=lambda shape: shape or ())
        self.members = [[i for i, shape in enumerate(shapes) if shape == kind] for kind in kinds]
        self.sizes = [batch_size if isinstance(batch_size, int) else batch_size[kind] for kind in kinds]
        for size in self.sizes:
            if size < 1 or size % (world * accumulate):
                raise ValueError(
                    f"loader.batch_size={size} is the batch of one optimizer step over all devices; it must be a "
                    f"multiple of {world} device(s) x {accumulate} accumulated batch(es)"
                )
        self.groups, self.turns = self._divided(parts or [(len(shapes), 1.0)])
        self.seed = seed
        self.start, self.steps, self.rank, self.world = start, steps, rank, world
        self._orders: dict[tuple[int, int], tuple[int, np.ndarray]] = {}

    def _divided(self, parts: Sequence[tuple[int, float]]) -> tuple[list[list[list[int]]], list[list[Turn]]]:
        """For each bucket: the members of each part, and what each sample of a step is."""
        ends = list(accumulate(count for count, _ in parts))
        groups = [[[i for i in members if end - count <= i < end] for end, (count, _) in zip(ends, parts, strict=True)]
                  for members in self.members]
        turns = []
        for size, parts_of in zip(self.sizes, groups, strict=True):
            bounds = [0, *(round(size * part) for part in accumulate(part for _, part in parts))]
            counts = [high - low for low, high in pairwise(bounds)]
            for members, count, (_, part) in zip(parts_of, counts, parts, strict=True):
                if not count:
                    raise ValueError(f"a share of {part:g} of a step of {size} samples is none: take more or larger")
                if not members:
                    raise ValueError("each part of the training set must have samples of each shape")
            order = sorted(((j + 0.5) / count, part, j) for part, count in enumerate(counts) for j in range(count))
            turns.append([Turn(part, j, counts[part]) for _, part, j in order])
        return groups, turns

    def __len__(self) -> int:
        """Steps of the whole run, those before ``start`` included: Lightning counts them so."""
        return self.steps

    def __iter__(self) -> Iterator[list[Key]]:
        for step in islice(self.plan(), self.start, self.steps):
            local = step.size // self.world
            first = self.rank * local
            yield [(step.draw + i, self._sample(step.bucket, step.position + i)) for i in range(first, first + local)]

    def plan(self) -> Iterator[Step]:
        """All steps, without end."""
        drawn, draw = [0] * len(self.members), 0
        while True:
            bucket = min(range(len(drawn)), key=lambda k: (drawn[k] / len(self.groups[k][0]), k))
            yield Step(bucket, self.sizes[bucket], draw, drawn[bucket])
            drawn[bucket] += self.sizes[bucket]
            draw += self.sizes[bucket]

    def step(self, number: int) -> Step:
        """The ``number``-th step."""
        if len(self.sizes) == 1:
            return Step(0, self.sizes[0], number * self.sizes[0], number * self.sizes[0])
        cached = getattr(self, "_plan", None)
        if cached is None or cached[0] > number:
            self._plan = cached = [-1, self.plan(), None]
        while cached[0] < number:
            cached[0], cached[2] = cached[0] + 1, next(cached[1])
        return cached[2]

    def index(self, draw: int) -> int:
        """The sample of a draw."""
        step = next(s for s in self.plan() if draw < s.draw + s.size)
        return self._sample(step.bucket, step.position + draw - step.draw)

    def _sample(self, bucket: int, position: int) -> int:
        step, slot = divmod(position, self.sizes[bucket])
        part, number, total = self.turns[bucket][slot]
        members = self.groups[bucket][part]
        epoch, slot = divmod(step * total + number, len(members))
        cached = self._orders.get((bucket, part))
        if cached is None or cached[0] != epoch:
            key = bucket + part * len(self.members)
            order = stream(self.seed, epoch, Purpose.ORDER, key).permutation(len(members))
            self._orders[bucket, part] = cached = (epoch, order)
        return members[int(cached[1][slot])]


def batch_sizes(shapes: Sequence[Shape], *, budget: int, multiple: int) -> dict[Shape, int]:
    """Samples a step for each shape: the most multiples of ``multiple`` within a ``budget`` of positions, or one.

    Raises ``ValueError`` where the data set does not tell the shapes of its samples.
    """
    if None in shapes:
        raise ValueError(
            "loader.budget needs a data set whose reader tells the shapes of its samples; use loader.batch_size instead"
        )
    return {
        shape: multiple * max(1, budget // (int(np.prod(shape)) * multiple))
        for shape in set(shapes) if shape is not None
    }
