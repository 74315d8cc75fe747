"""A 1-D U-Net: channels are features (the mel bands of a spectrogram), convolutions run over time.

    level i has base multipliers[i] channels and ceil(T / 2^i) frames
    down   h_i = Conv^n(h),  h = stride-2 conv(h_i)          up   h = Conv^n([repeat(h, 2), h_i])
    bottom h = Conv^n(Attention(Conv^n(h)))                  out    conv(silu(norm(h))) + Through(x)

(Ronneberger et al. 2015; blocks of Dhariwal & Nichol 2021.) Halving rounds up, and doubling is cut to the length of the
skip, so every length is accepted as it is: zeros past the end are what the convolution would see of padding anyway.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import check_backend
from .blocks import AttentionBlock, ConvBlock, GroupNorm, Through, hide, zero
from .embeddings import Embedding, angles
from .inputs import CondLike, Intake
from .network import Network


class Blocks(nn.ModuleList):
    """One level's blocks in turn."""

    def forward(self, h: Tensor, embedding: Tensor, mask: Tensor | None) -> Tensor:
        for block in self:
            h = block(h, embedding, mask)
        return h


class UNet1d(Network):
    """``(x (B, channels, T), level (B,), cond, mask (B, 1, T)) -> (B, channels, T)``, any T; zero at initialisation.

    ``blocks`` convolution blocks a level, each way; ``groups`` of the normalisation divide every width. The embedding
    of level and condition has 4 base channels. ``tokens`` adds cross-attention to ``cond.tokens`` at the bottom,
    ``concat_channels`` are those of ``cond.concat``, read beside x. Padded positions come out as 0.
    """

    def __init__(
        self,
        channels: int,
        cond_dim: int,
        *,
        base: int = 64,
        multipliers: Sequence[int] = (1, 2, 3),
        blocks: int = 1,
        heads: int = 4,
        groups: int = 8,
        tokens: bool = False,
        concat_channels: int = 0,
        backend: str = "auto",
    ):
        super().__init__()
        if blocks < 1 or not multipliers or base % groups:
            raise ValueError(
                "need at least one block and one multiplier, and groups that divide base; got "
                f"blocks={blocks}, multipliers={tuple(multipliers)}, base={base}, groups={groups}"
            )
        widths = [base * m for m in multipliers]
        steps, bottom, emb_dim = list(pairwise(widths)), widths[-1], 4 * base
        self.intake = Intake(channels, cond_dim, concat_channels=concat_channels, tokens=tokens)
        self.head_dim = bottom // heads

        def stack(c_in: int, c_out: int) -> Blocks:
            sizes = pairwise([c_in] + [c_out] * blocks)
            return Blocks(ConvBlock(a, b, emb_dim, groups=groups) for a, b in sizes)

        self.embedding = Embedding(emb_dim, cond_dim)
        self.stem = nn.Conv1d(channels, widths[0], 3, padding=1)
        self.maps = zero(nn.Conv1d(concat_channels, widths[0], 3, padding=1, bias=False)) if concat_channels else None
        self.down = nn.ModuleList(stack(fine, fine) for fine, _ in steps)
        self.halve = nn.ModuleList(nn.Conv1d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in steps)
        self.enter, self.leave = stack(bottom, bottom), stack(bottom, bottom)
        self.attention = AttentionBlock(
            bottom, heads, context_dim=cond_dim if tokens else None, backend=check_backend(backend)
        )
        self.up = nn.ModuleList(stack(coarse + fine, fine) for fine, coarse in reversed(steps))
        self.norm = GroupNorm(groups, widths[0])
        self.out = zero(nn.Conv1d(widths[0], channels, 3, padding=1))
        self.through = Through(emb_dim)

    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        inputs = self.intake(x, cond, mask)
        embedding = self.embedding(level, inputs.vector)

        h, skips = self.stem(inputs.x), []
        if self.maps is not None and inputs.maps is not None:
            h = h + self.maps(inputs.maps)
        for stack, halve in zip(self.down, self.halve, strict=True):
            h = stack(h, embedding, mask)
            skips.append((h, mask))
            h, mask = halve(hide(h, mask)), None if mask is None else mask[..., ::2]
        h = self.enter(h, embedding, mask)
        turns = angles(torch.arange(h.shape[-1], device=h.device), self.head_dim)
        h = self.attention(h, inputs, mask=mask, angles=turns)
        h = self.leave(h, embedding, mask)
        for stack in self.up:
            skip, mask = skips.pop()
            h = F.interpolate(h, skip.shape[-1])
            h = stack(torch.cat([h, skip], dim=1), embedding, mask)
        out = self.out(hide(F.silu(self.norm(h, mask)), mask))
        return hide(out + self.through(inputs.x, embedding), mask)
