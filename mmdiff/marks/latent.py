"""A pattern of a secret on the latent, for models whose samples keep nothing of their noise.

    marked = latent + strength * s * p,    p ~ N(0, I) of (secret, seed mod patterns),   s = signs of the message
    e = y - D(alpha y, t),   r = p,        y = latent of the file,   sigma / alpha (t) = strength

White noise of that level is what the model itself can tell from a sample: what it would take away is the evidence.
Unlike marks of the noise it changes the sample. One pattern in all files could be averaged out of many: there are
several.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .base import Source
from .keyed import Keyed


class LatentMark(Keyed):
    """Adds one of ``patterns`` of the ``secret`` to the whitened latent, ``strength`` in its standard deviations."""

    word = "pattern"

    def __init__(
        self, secret: str, *, strength: float = 0.12, patterns: int = 16, bits: int = 0, message: str | None = None,
    ):
        super().__init__(secret, bits=bits, message=message)
        if not strength > 0 or patterns < 1:
            raise ValueError(f"need strength > 0 and patterns >= 1, got {strength} and {patterns}")
        self.strength, self.patterns = strength, patterns

    def index(self, seed: int) -> int:
        return seed % self.patterns

    def embed_latent(self, latents: Tensor, seeds: Sequence[int], draw: int) -> Tensor:
        pattern = self.keyed(seeds, 0, latents.shape[1:], message=self.message)
        return latents + self.strength * pattern.to(latents)

    def evidence(self, latents: Tensor, source: Source) -> Tensor:
        t = source.schedule.time(torch.tensor(-2 * math.log(self.strength), dtype=torch.float64))
        alpha = float(source.schedule.level(t).alpha)
        return latents - source.denoise(alpha * latents, t.to(latents).expand(len(latents)))
