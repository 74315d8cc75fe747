"""What a network is given, checked and made safe.

    x <- where(mask, x, 0),      maps <- where(mask, cond.concat, 0),      tokens <- where(tokens_mask, tokens, 0)
    h = stem(x) + W maps,        W = 0 at first, without bias

So a network that begins to read maps gives the bits that it gave, and what is not told (zeros, or none) adds nothing
then or later. A wider stem would sum in another order.

Padding is replaced, not multiplied, because 0 NaN = NaN. A part of the condition that the network has no use for is an
error: it would otherwise be dropped in silence.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class CondLike(Protocol):
    """What a network reads of a condition."""

    @property
    def vector(self) -> Tensor | None: ...
    @property
    def tokens(self) -> Tensor | None: ...
    @property
    def tokens_mask(self) -> Tensor | None: ...
    @property
    def concat(self) -> Tensor | None: ...


class Inputs(NamedTuple):
    """``x`` ``(B, C, *S)``; ``vector`` ``(B, D)``; ``tokens`` ``(B, L, D)`` with ``tokens_mask`` ``(B, L)``; ``maps``
    ``(B, C', *S)``."""

    x: Tensor
    vector: Tensor | None = None
    tokens: Tensor | None = None
    tokens_mask: Tensor | None = None
    maps: Tensor | None = None


class Intake:
    """The check of one network: ``channels`` of x, ``concat_channels`` read beside x, whether ``tokens`` are."""

    def __init__(self, channels: int, cond_dim: int, *, concat_channels: int = 0, tokens: bool = False):
        if tokens and not cond_dim:
            raise ValueError("tokens=True needs a conditioner that gives tokens: cond_dim is 0")
        self.channels, self.cond_dim, self.concat_channels, self.tokens = channels, cond_dim, concat_channels, tokens

    def __call__(self, x: Tensor, cond: CondLike | None, mask: Tensor | None) -> Inputs:
        """Raises ``ValueError`` where the shapes, or the parts of ``cond``, are not what the network was built for."""
        if x.shape[1] != self.channels:
            raise ValueError(f"expected {self.channels} channels, got {tuple(x.shape)}: build it with codec.channels")
        batch, size = x.shape[0], x.shape[2:]                         # len(x) would be a constant to an export
        if mask is not None and mask.shape != (batch, 1, *size):
            raise ValueError(f"expected a mask {(batch, 1, *size)}, got {tuple(mask.shape)}")
        vector, tokens, tokens_mask, concat = (
            (None,) * 4 if cond is None else (cond.vector, cond.tokens, cond.tokens_mask, cond.concat)
        )
        if concat is not None and concat.shape != (batch, self.concat_channels, *size):
            raise ValueError(
                f"expected cond.concat {(batch, self.concat_channels, *size)}, got {tuple(concat.shape)}: "
                "a network is built with concat_channels, those of its maps"
            )
        if tokens is not None and (not self.tokens or tokens.shape[-1] != self.cond_dim):
            raise ValueError(
                f"cond.tokens {tuple(tokens.shape)} given to a network with tokens={self.tokens} and "
                f"cond_dim={self.cond_dim}: build it with tokens=True and cond_dim = conditioner.dim"
            )
        if tokens is None and self.tokens:
            raise ValueError("a network with tokens=True was given none: its conditioner must give them")
        if mask is not None:
            x = torch.where(mask, x, 0)
            concat = None if concat is None else torch.where(mask, concat, 0)
        if tokens is not None and tokens_mask is not None:
            tokens = torch.where(tokens_mask[..., None], tokens, 0)
        return Inputs(x, vector, tokens, tokens_mask, concat)
