"""The transformer of a public model as a network: what those of all families have in common.

    x_t = (1 - t) x0 + t eps,     t = sigma / (alpha + sigma)            what models of straight paths learned with

The network is told a unit-variance input and a level, and tells the transformer what it learned with, whatever the
schedule here is.
"""

import math
from typing import Any

import torch
from torch import Tensor

from ..core.types import expand
from ..nn.frozen import freeze, sharing
from ..nn.inputs import CondLike
from ..nn.network import Network
from .public import Precision, PublicModel, computing


class PublicNetwork(Network):
    """The transformer of ``model``, of the class ``kind``, whose own weights are in ``dtype`` and never learn: changes
    of them do."""

    public_parts: tuple[str, ...] = ("transformer",)
    pretrained, pads, inner = True, False, "transformer"
    kind: str
    reads_vector: bool = False
    """Whether its transformer takes the vector of a condition; others are told it by every token of the text."""

    widths: tuple[str, ...] = ("in_channels", "out_channels")
    """What its settings call the channels of a latent that it reads and puts out."""
    reads: str
    """What they call the width of a token."""
    like: Tensor
    """Of the precision in which the transformer works."""

    def __init__(
        self, channels: int, cond_dim: int, *, model: PublicModel, tokens: bool = True, dtype: Precision = "float32"
    ):
        super().__init__()
        self.config = self.settings(model)
        model.agree("transformer", self.config, {**dict.fromkeys(self.widths, channels), self.reads: cond_dim})
        if not tokens:
            raise ValueError("this transformer reads a text: name captions by data.captions=true or data.texts=")
        self.model = model
        self.transformer: Any = sharing(model.load("transformer", self.kind, dtype))
        freeze(self)
        self.register_buffer("like", torch.zeros((), dtype=computing(dtype)), persistent=False)

    @classmethod
    def settings(cls, model: PublicModel) -> dict[str, Any]:
        """Those of the transformer of ``model``."""
        return model.config("transformer", cls.kind)

    def tokens(self, cond: CondLike | None, mask: Tensor | None) -> Tensor:
        """The text that is told ``(B, L, D)``, and with it the vector ``(B, D)``, such as jumps are told by. Raises
        ``ValueError`` where there is no text, and for padding."""
        if mask is not None and not mask.all():
            raise ValueError("this transformer knows no padding: samples of a batch are of one size, see "
                             "adapter.reader.buckets and adapter.reader.pad")
        if cond is None or cond.tokens is None:
            raise ValueError("this transformer is told a text, and none was given: an empty one is a text too")
        told = cond.tokens if self.reads_vector or cond.vector is None else cond.tokens + cond.vector[:, None]
        return told.to(self.like.dtype)


def straight(x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """``x_t`` and ``t``, ``(B,)`` or ``(B, T)``, on a straight path, of an input of unit variance and its level."""
    alpha, sigma = (math.pi / 2 * level.double()).cos(), (math.pi / 2 * level.double()).sin()
    t = sigma / (alpha + sigma)
    return x * expand(torch.hypot(1 - t, t), x).to(x.dtype), t


def of_tokens(t: Tensor, shape: tuple[int, ...], patch: tuple[int, ...]) -> Tensor:
    """``(B,)`` as it is, and ``(B, T)`` as a value of each token ``(B, T' H' W')`` of latents ``shape`` ``(T, H, W)``:
    that of the first frame of a ``patch``."""
    if t.ndim == 1:
        return t
    return t[:, :: patch[0]].repeat_interleave(shape[1] // patch[1] * (shape[2] // patch[2]), dim=1)
