"""A message in the signs of noise that only a secret tells.

    noise = s * n,     n ~ N(0, I) of (secret, seed, draw),     s_i = -1 where the bit of place i is 1, else 1
    e = noise that the file goes back to,   r = n

Signs of independent normals are flipped, so the noise is exactly normal, whatever the message, and without the secret
no test tells it from any other. Places take the bits in turn. They are entries of the noise itself: <r, e> is the same
in any orthonormal basis, and entries are the one in which a part of a file still has a part of every bit.
"""

from collections.abc import Sequence

from torch import Tensor

from ..core.invert import invert
from .base import Source
from .keyed import Keyed


class SignsMark(Keyed):
    """Starts from noise of (``secret``, seed, draw) with a ``message`` in its signs; found by the seeds of a log.

    ``steps`` of the way back are two network calls each.
    """

    def __init__(self, secret: str, *, bits: int = 8, message: str | None = None, steps: int = 10):
        super().__init__(secret, bits=bits, message=message)
        self.steps = steps

    def embed_noise(self, noise: Tensor, seeds: Sequence[int], draw: int) -> Tensor:
        return self.keyed(seeds, draw, noise.shape[1:], message=self.message).to(noise)

    def evidence(self, latents: Tensor, source: Source) -> Tensor:
        return invert(source.denoise, latents, source.schedule, steps=self.steps)
