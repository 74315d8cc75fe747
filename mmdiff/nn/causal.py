"""Convolutions over films that never look ahead: an encoder and a decoder of T = 1 + k stride frames.

    block    h = h + W_t c(N(W_s c(N(h))))      W_s 3 x 3 in space, W_t 3 frames up to this one, c = silu
    N        x / rms(x over channels)           at each position alone, so that no statistics tell of later frames
    halve    2 x 2 pixels -> channels;  frames (2i - 2, 2i - 1, 2i) -> i, the first from itself alone
    double   channels -> 2 x 2 pixels;  frame i -> (2i - 1, 2i), the first to itself alone

Before the first frame are zeros. So frames 0 .. t of a film are coded as they are without what follows, and a picture
is a film of one frame (causal convolutions: Yu et al. 2023, MAGVIT-2, section 3.2).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Norm(nn.Module):
    """RMS normalisation of ``(B, C, T, H, W)`` over channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(1, keepdim=True) + 1e-6).rsqrt() * self.gain


class Spatial(nn.Conv2d):
    """A 3 x 3 convolution of each frame."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__(c_in, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = super().forward(rearrange(x, "b c t h w -> (b t) c h w"))
        return rearrange(h, "(b t) c h w -> b c t h w", b=len(x))


class Temporal(nn.Module):
    """A convolution of 3 frames up to each (every ``step``-th); as products of channels, which are quicker."""

    def __init__(self, c_in: int, c_out: int, *, step: int = 1):
        super().__init__()
        self.step, self.weight = step, nn.Conv2d(3 * c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[2]
        padded = F.pad(x, (0, 0, 0, 0, 2, 0))
        near = torch.cat([padded[:, :, k : k + count : self.step] for k in range(3)], 1)
        h = self.weight(rearrange(near, "b c t h w -> (b t) c h w"))
        return rearrange(h, "(b t) c h w -> b c t h w", b=len(x))


class CausalBlock(nn.Module):
    """``(B, C, T, H, W)`` to the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1, self.space = Norm(channels), Spatial(channels, channels)
        self.norm2, self.time = Norm(channels), Temporal(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.space(F.silu(self.norm1(x)))
        return x + self.time(F.silu(self.norm2(h)))


class Halve(nn.Module):
    """Halves height and width, and with ``frames`` the frames too: T = 1 + 2k to 1 + k."""

    def __init__(self, c_in: int, c_out: int, *, frames: bool):
        super().__init__()
        self.space = Pointwise(4 * c_in, c_out)
        self.time = Temporal(c_out, c_out, step=2) if frames else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.time(self.space(rearrange(x, "b c t (h p) (w q) -> b (c p q) t h w", p=2, q=2)))


class Double(nn.Module):
    """The other way of ``Halve``."""

    def __init__(self, c_in: int, c_out: int, *, frames: bool):
        super().__init__()
        self.time = Temporal(c_in, 2 * c_in) if frames else None
        self.space = Pointwise(c_in, 4 * c_out)

    def forward(self, x: Tensor) -> Tensor:
        if self.time is not None:
            x = rearrange(self.time(x), "b (two c) t h w -> b c (t two) h w", two=2)[:, :, 1:]
        return rearrange(self.space(x), "b (c p q) t h w -> b c t (h p) (w q)", p=2, q=2)


class Pointwise(nn.Conv2d):
    """A product of channels at each position."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = super().forward(rearrange(x, "b c t h w -> (b t) c h w"))
        return rearrange(h, "(b t) c h w -> b c t h w", b=len(x))


def encoder(channels: int, out: int, widths: Sequence[int], halved: Sequence[bool], blocks: int) -> nn.Sequential:
    """From ``channels`` to ``out``, ``len(widths)`` times halved in space, and in time where ``halved``; blocks come
    after the first halving, as whole pictures are dear and simple."""
    layers: list[nn.Module] = []
    for width, frames, before in zip(widths, halved, (channels, *widths), strict=False):
        layers += [Halve(before, width, frames=frames), *(CausalBlock(width) for _ in range(blocks))]
    return nn.Sequential(*layers, Norm(widths[-1]), Pointwise(widths[-1], out))


def decoder(latent: int, channels: int, widths: Sequence[int], halved: Sequence[bool], blocks: int) -> nn.Sequential:
    """The other way."""
    layers: list[nn.Module] = [Spatial(latent, widths[-1])]
    for width, frames, after in zip(widths[::-1], halved[::-1], (*widths[-2::-1], channels), strict=True):
        layers += [*(CausalBlock(width) for _ in range(blocks)), Norm(width), Double(width, after, frames=frames)]
    return nn.Sequential(*layers)
