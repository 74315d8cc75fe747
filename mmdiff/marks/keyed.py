"""Marks that correlate evidence with noise of a key, and carry a message in its signs."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.rng import Purpose, normal
from ..core.types import Masked
from .base import Candidate, Found, Mark, Source
from .correlation import likeliest, limited, signs
from .secret import Secret

BATCH = 16
"""Files whose evidence is made at once."""


class Correlated(Mark):
    """A candidate is told by the ``word`` for its number."""

    word: str = "seed"

    @abstractmethod
    def evidence(self, latents: Tensor, source: Source) -> Tensor:
        """What is made of the latents ``(B, C, *S)`` of files alone."""

    @abstractmethod
    def reference(self, candidates: Sequence[Candidate], channels: int) -> Tensor:
        """``(K, channels, *S)``, standard normal, of candidates of one shape."""

    @torch.no_grad()
    def score(
        self, samples: Sequence[Tensor], source: Source, candidates: Sequence[Sequence[Candidate]], *, shifts: int = 0
    ) -> list[Found]:
        found: dict[int, Found] = {}
        for shape in dict.fromkeys(sample.shape for sample in samples):
            same_shape = [i for i, sample in enumerate(samples) if sample.shape == shape]
            for first in range(0, len(same_shape), BATCH):
                part = same_shape[first : first + BATCH]
                stacked = torch.stack([samples[i] for i in part]).to(source.device)
                seen = limited(self.evidence(source.codec.encode(Masked(stacked)).x, source)).cpu()
                for i, evidence in zip(part, seen, strict=True):
                    found[i] = self._best(evidence, candidates[i], shifts)
        return [found[i] for i in range(len(samples))]

    def _best(self, evidence: Tensor, candidates: Sequence[Candidate], shifts: int) -> Found:
        candidates = list(dict.fromkeys(c._replace(seed=self.index(c.seed)) for c in candidates))
        best, candidate = likeliest(
            evidence, candidates, lambda part: self.reference(part, len(evidence)), bits=self.bits, shifts=shifts
        )
        return best._replace(facts={self.word: candidate.seed, **best.facts})


class Keyed(Correlated):
    """A mark with a ``secret`` (``env:NAME``) and a ``message`` of ``bits`` / 4 hexadecimal digits, 0 where it is left
    out."""

    def __init__(self, secret: str, *, bits: int, message: str | None):
        if bits < 0 or bits % 4:
            raise ValueError(f"bits are those of hexadecimal digits: 0, 4, 8 ..., got {bits}")
        if message is not None and not (len(message) == bits // 4 and set(message) <= set("0123456789abcdef")):
            raise ValueError(f"message is {bits // 4} hexadecimal digits, 0 to 9 and a to f (bits={bits}); "
                             f"got {message!r}")
        self.secret, self.bits, self.message = secret, bits, bits // 4 * "0" if message is None else message
        self.key = Secret(secret).id

    def keyed(self, seeds: Sequence[int], draw: int, shape: Sequence[int], *, message: str = "") -> Tensor:
        """Standard normal ``(B, C, *S)``, row i of (secret, index of ``seeds[i]``, draw), with a message in its signs;
        more positions of the first axis change none before."""
        channels, length, *rest = shape
        secret, like = Secret(self.secret), Masked(torch.empty(len(seeds), length, channels, *rest))
        keys = [secret.key(type(self).__name__, self.index(seed)) for seed in seeds]
        drawn = normal(keys, torch.full((len(keys),), draw), Purpose.MARK, like).movedim(1, 2)
        return drawn * signs(message, shape) if message else drawn.contiguous()

    def reference(self, candidates: Sequence[Candidate], channels: int) -> Tensor:
        return self.keyed([candidate.seed for candidate in candidates], 0, (channels, *candidates[0].shape))
