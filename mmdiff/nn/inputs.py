"""What a network is given, checked and made safe.

    x <- concat(where(mask, x, 0), where(mask, cond.concat, 0)),      tokens <- where(tokens_mask, tokens, 0)

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
    """``x`` ``(B, C + C', *S)``; ``vector`` ``(B, D)``; ``tokens`` ``(B, L, D)`` with ``tokens_mask`` ``(B, L)``."""

    x: Tensor
    vector: Tensor | None = None
    tokens: Tensor | None = None
    tokens_mask: Tensor | None = None


class Intake:
    """The check of one network: ``channels`` of x, ``concat_channels`` joined to them, whether ``tokens`` are read."""

    def __init__(self, channels: int, cond_dim: int, *, concat_channels: int = 0, tokens: bool = False):
        if tokens and not cond_dim:
            raise ValueError("tokens=True needs a conditioner that gives tokens: cond_dim is 0")
        self.channels, self.cond_dim, self.concat_channels, self.tokens = channels, cond_dim, concat_channels, tokens

    @property
    def width(self) -> int:
        """Channels of ``Inputs.x``."""
        return self.channels + self.concat_channels

    def __call__(self, x: Tensor, cond: CondLike | None, mask: Tensor | None) -> Inputs:
        """Raises ``ValueError`` where the shapes, or the parts of ``cond``, are not what the network was built for."""
        if x.shape[1] != self.channels:
            raise ValueError(f"expected {self.channels} channels, got {tuple(x.shape)}: build it with codec.channels")
        if mask is not None and mask.shape != (len(x), 1, *x.shape[2:]):
            raise ValueError(f"expected a mask {(len(x), 1, *x.shape[2:])}, got {tuple(mask.shape)}")
        vector, tokens, tokens_mask, concat = (
            (None,) * 4 if cond is None else (cond.vector, cond.tokens, cond.tokens_mask, cond.concat)
        )
        if (0 if concat is None else concat.shape[1]) != self.concat_channels:
            raise ValueError(
                f"expected {self.concat_channels} channels in cond.concat, got "
                f"{'none' if concat is None else tuple(concat.shape)}: set concat_channels of the network"
            )
        if tokens is not None and (not self.tokens or tokens.shape[-1] != self.cond_dim):
            raise ValueError(
                f"cond.tokens {tuple(tokens.shape)} given to a network with tokens={self.tokens} and "
                f"cond_dim={self.cond_dim}: build it with tokens=True and cond_dim = conditioner.dim"
            )
        if tokens is None and self.tokens:
            raise ValueError("a network with tokens=True was given none: its conditioner must give them")
        if concat is not None:
            x = torch.cat([x, concat], dim=1)
        if mask is not None:
            x = torch.where(mask, x, 0)
        if tokens is not None and tokens_mask is not None:
            tokens = torch.where(tokens_mask[..., None], tokens, 0)
        return Inputs(x, vector, tokens, tokens_mask)
