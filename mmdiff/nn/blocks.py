"""The residual blocks that the networks are made of; e is the embedding of noise level and condition.

    Attend       x + W attention(turn(s rms(W_q x)), turn(rms(W_k y)), W_v y),         y = x, or tokens (not turned)
    Transformer  x + g1 Attend(m1(x));  x + Cross(x, tokens);  x + g2 MLP(m2(x)),    m(x) = (1 + scale) LN(x) + shift,
                 (shift, scale, g) = W e, W = 0 at initialisation                    (adaLN-Zero: Peebles & Xie 2023)
    Conv         x + conv(silu(FiLM(norm(conv(silu(norm(x)))), e)))                  (Dhariwal & Nichol 2021)
    Through      (w e + b) x,  w, b = 0 at initialisation         (c_skip of Karras et al. 2022, eq. 7, but learned)

Queries and keys are RMS-normalised (Dehghani et al. 2023). No block lets a padded position reach a real one.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .aligned import AlignedLinear
from .attention import attention
from .embeddings import turn
from .inputs import Inputs


def zero(layer: nn.Module) -> nn.Module:
    """The same layer with all its parameters 0."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def hide(x: Tensor, mask: Tensor | None) -> Tensor:
    """0 where ``mask`` is False; ``x`` must be finite."""
    return x if mask is None else x * mask


class Attention(nn.Module):
    """``x`` ``(B, N, dim)`` attends to itself, or to ``context`` ``(B, M, context_dim)``; returns ``(B, N, dim)``."""

    def __init__(self, dim: int, heads: int, *, context_dim: int | None = None, backend: str = "auto"):
        super().__init__()
        if dim % (2 * heads):
            raise ValueError(f"dim must be a multiple of 2 heads, got dim={dim} and heads={heads}")
        self.heads, self.backend = heads, backend
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(context_dim or dim, 2 * dim, bias=False)
        self.scale = nn.Parameter(torch.ones(dim // heads))           # one for both: only the product q k matters
        self.out = nn.Linear(dim, dim)

    def forward(
        self, x: Tensor, context: Tensor | None = None, *, mask: Tensor | None = None, angles: Tensor | None = None
    ) -> Tensor:
        """``mask`` ``(B, M)`` is True for real keys; ``angles`` ``(N, D / 2)`` turn queries and keys alike."""
        q = rearrange(self.q(x), "b n (h d) -> b h n d", h=self.heads)
        kv = self.kv(x if context is None else context)
        k, v = rearrange(kv, "b m (two h d) -> two b h m d", two=2, h=self.heads)
        q, k = F.rms_norm(q, q.shape[-1:], eps=1e-6) * self.scale, F.rms_norm(k, k.shape[-1:], eps=1e-6)
        if angles is not None:
            q, k = turn(q, angles), turn(k, angles)
        out = attention(q, k, v, mask, backend=self.backend)
        return self.out(rearrange(out, "b h n d -> b n (h d)"))


class TransformerBlock(nn.Module):
    """An adaLN-Zero block ``(B, N, dim) -> (B, N, dim)``; with ``context_dim`` it also attends to the tokens."""

    def __init__(
        self, dim: int, heads: int, emb_dim: int, *, mlp_ratio: float, context_dim: int | None, backend: str
    ):
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.attention = Attention(dim, heads, backend=backend)
        self.cross = Attention(dim, heads, context_dim=context_dim, backend=backend) if context_dim else None
        self.cross_norm = nn.LayerNorm(dim) if context_dim else None
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dim))
        self.modulation = zero(nn.Linear(emb_dim, 6 * dim))
        if self.cross is not None:
            zero(self.cross.out)

    def forward(
        self, x: Tensor, embedding: Tensor, inputs: Inputs, *, mask: Tensor | None = None, angles: Tensor | None = None
    ) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(embedding)[:, None].chunk(6, dim=-1)
        x = x + gate1 * self.attention(modulate(x, shift1, scale1), mask=mask, angles=angles)
        if self.cross is not None and self.cross_norm is not None and inputs.tokens is not None:
            x = x + self.cross(self.cross_norm(x), inputs.tokens, mask=inputs.tokens_mask)
        return x + gate2 * self.mlp(modulate(x, shift2, scale2))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """``(1 + scale) LN(x) + shift`` over the last axis."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


class Through(nn.Module):
    """The part of a noisy input that goes straight to the output, ``(B, C, *S) -> (B, C, *S)``, by noise level.

    Most outputs hold the noise: a velocity is (x_t - x0) / t. Data fill few of a latent's dimensions and noise fills
    all, so without this a network has to hand every one of them on, through norms and non-linearities that are hardly
    wider, before its loss falls below the variance of noise; with it, it only has to find x0.
    """

    def __init__(self, emb_dim: int):
        super().__init__()
        self.gain = zero(AlignedLinear(emb_dim, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.gain(embedding).reshape(-1, *(1,) * (x.ndim - 1)) * x


class GroupNorm(nn.GroupNorm):
    """Group normalisation of ``(B, C, T)`` with statistics over the real positions (Wu & He 2018, eq. 1 and 2)."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return super().forward(x)
        real = mask[:, None]                                                      # (B, 1, 1, T)
        y = rearrange(x, "b (g c) t -> b g c t", g=self.num_groups)
        y = y.to(torch.promote_types(y.dtype, torch.float32))
        count = (real.sum((2, 3), keepdim=True) * y.shape[2]).clamp(min=1)
        y = (y - (y * real).sum((2, 3), keepdim=True) / count) * real
        y = y * torch.rsqrt(y.square().sum((2, 3), keepdim=True) / count + self.eps)
        y = rearrange(y, "b g c t -> b (g c) t").to(x.dtype)
        return y if self.weight is None else torch.addcmul(self.bias[:, None], y, self.weight[:, None])


class ConvBlock(nn.Module):
    """``(B, C_in, T) -> (B, C_out, T)`` in two convolutions over time, modulated by the embedding between them."""

    def __init__(self, c_in: int, c_out: int, emb_dim: int, *, groups: int):
        super().__init__()
        self.norm1, self.norm2 = GroupNorm(groups, c_in), GroupNorm(groups, c_out, affine=False)
        self.conv1 = nn.Conv1d(c_in, c_out, 3, padding=1)
        self.conv2 = zero(nn.Conv1d(c_out, c_out, 3, padding=1))
        self.film = nn.Linear(emb_dim, 2 * c_out)
        self.skip = nn.Identity() if c_in == c_out else nn.Conv1d(c_in, c_out, 1)

    def forward(self, x: Tensor, embedding: Tensor, mask: Tensor | None = None) -> Tensor:
        h = self.conv1(hide(F.silu(self.norm1(x, mask)), mask))
        shift, scale = self.film(embedding)[..., None].chunk(2, dim=1)            # (B, C, 1)
        h = torch.addcmul(shift, self.norm2(h, mask), 1 + scale)
        return self.skip(x) + self.conv2(hide(F.silu(h), mask))


class AttentionBlock(nn.Module):
    """Convolutional features ``(B, C, T)`` attend over time, and to the tokens if there is a ``context_dim``."""

    def __init__(self, dim: int, heads: int, *, context_dim: int | None, backend: str):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(dim), Attention(dim, heads, backend=backend)
        zero(self.attention.out)
        self.cross = None
        if context_dim:
            self.cross_norm = nn.LayerNorm(dim)
            self.cross = Attention(dim, heads, context_dim=context_dim, backend=backend)
            zero(self.cross.out)

    def forward(self, x: Tensor, inputs: Inputs, *, mask: Tensor | None = None, angles: Tensor) -> Tensor:
        h = rearrange(x, "b c t -> b t c")
        h = h + self.attention(self.norm(h), mask=None if mask is None else mask[:, 0], angles=angles)
        if self.cross is not None and inputs.tokens is not None:
            h = h + self.cross(self.cross_norm(h), inputs.tokens, mask=inputs.tokens_mask)
        return rearrange(h, "b t c -> b c t")
