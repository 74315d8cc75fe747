"""A 1-D diffusion transformer: patches of time are the tokens.

    z = W patches(x);    z = Block_l(z, e),  l = 1..depth;    out = W' m(z) + Through(x),   W' = 0 at first

with adaLN-Zero blocks (Peebles & Xie 2023), rotary positions and normalised queries and keys. A patch is ``patch``
frames; the last is filled with zeros, and a patch is real where any of its frames is.
"""

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn

from .attention import check_backend
from .blocks import Through, TransformerBlock, hide, modulate, zero
from .embeddings import Embedding, angles
from .inputs import CondLike, Intake
from .network import Network
from .tensors import round_up


class DiT1d(Network):
    """``(x (B, channels, T), level (B,), cond, mask (B, 1, T)) -> (B, channels, T)``, any T; zero at initialisation.

    ``dim`` (a multiple of 2 ``heads``) features a token, ``patch`` frames a token. ``tokens`` adds cross-attention to
    ``cond.tokens`` in every block, ``concat_channels`` are those of ``cond.concat``, read beside x. Padded positions
    come out as 0. ``blocks`` holds the transformer blocks, the unit for sharding and activation checkpointing.
    """

    def __init__(
        self,
        channels: int,
        cond_dim: int,
        *,
        dim: int = 256,
        depth: int = 8,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        patch: int = 1,
        tokens: bool = False,
        concat_channels: int = 0,
        backend: str = "auto",
    ):
        super().__init__()
        if patch < 1 or depth < 1:
            raise ValueError(f"patch (frames) and depth (blocks) must be at least 1, got {patch} and {depth}")
        self.intake = Intake(channels, cond_dim, concat_channels=concat_channels, tokens=tokens)
        self.patch, self.head_dim = patch, dim // heads
        self.embedding = Embedding(dim, cond_dim)
        self.stem = nn.Linear(channels * patch, dim)
        self.maps = zero(nn.Linear(concat_channels * patch, dim, bias=False)) if concat_channels else None
        self.blocks = nn.ModuleList(
            TransformerBlock(
                dim,
                heads,
                dim,
                mlp_ratio=mlp_ratio,
                context_dim=cond_dim if tokens else None,
                backend=check_backend(backend),
            )
            for _ in range(depth)
        )
        self.modulation = zero(nn.Linear(dim, 2 * dim))
        self.out = zero(nn.Linear(dim, channels * patch))
        self.through = Through(dim)

    def forward(self, x: Tensor, level: Tensor, cond: CondLike | None = None, mask: Tensor | None = None) -> Tensor:
        inputs, frames = self.intake(x, cond, mask), x.shape[-1]
        embedding = self.embedding(level, inputs.vector)                          # (B, D)
        fill = (0, round_up(frames, self.patch) - frames)
        patches = rearrange(F.pad(inputs.x, fill), "b c (n p) -> b n (p c)", p=self.patch)
        z = self.stem(patches.contiguous())                           # of a view, torch's kernel hangs on who learns
        if self.maps is not None and inputs.maps is not None:
            z = z + self.maps(rearrange(F.pad(inputs.maps, fill), "b c (n p) -> b n (c p)", p=self.patch))
        real = None if mask is None else reduce(F.pad(mask, fill), "b 1 (n p) -> b n", "any", p=self.patch)
        turns = angles(torch.arange(z.shape[1], device=z.device), self.head_dim)
        for block in self.blocks:
            z = block(z, embedding, inputs, mask=real, angles=turns)
        shift, scale = self.modulation(embedding)[:, None].chunk(2, dim=-1)
        out = rearrange(self.out(modulate(z, shift, scale)), "b n (p c) -> b c (n p)", p=self.patch)
        return hide(out[..., :frames] + self.through(inputs.x, embedding), mask)
