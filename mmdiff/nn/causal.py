"""Convolutions over films that never look ahead: an encoder and a decoder of T = 1 + k stride frames.

    block    h = h + W_t c(N(W_s c(N(h))))      W_s 3 x 3 in space, W_t 3 frames up to this one, c = silu
    N        layer norm over the channels of each position alone, so that no statistics tell of later frames
    halve    2 x 2 pixels -> channels;  frames (2i - 2, 2i - 1, 2i) -> i, the first from itself alone
    double   channels -> 2 x 2 pixels;  frame i -> (2i - 1, 2i), the first to itself alone

Halving begins as means, doubling as copies, on top of the usual random weights: what is seen gets through from the
first step on (the shortcuts of Chen et al. 2025, DC-AE, section 3.1, as initial values, which cost nothing).

Before the first frame are zeros. So frames 0 .. t of a film are coded as they are without what follows, and a picture
is a film of one frame (causal convolutions: Yu et al. 2023, MAGVIT-2, section 3.2).

Within, channels come last, (B, T, H, W, C): norms and products of channels, which are most of the work, then read what
lies together, and a film is a batch of pictures without a copy. It is twice as quick as channels first.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from einops.layers.torch import Rearrange
from torch import Tensor, nn


class Spatial(nn.Conv2d):
    """A 3 x 3 convolution of each frame."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__(c_in, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = super().forward(rearrange(x, "b t h w c -> (b t) c h w"))
        return rearrange(h, "n c h w -> n h w c").unflatten(0, x.shape[:2])


class Temporal(nn.Module):
    """A convolution of 3 frames up to each (every ``step``-th), as a product of channels; one that is ``passing``
    begins with the last of them added."""

    def __init__(self, c_in: int, c_out: int, *, step: int = 1, passing: bool = False):
        super().__init__()
        self.step, self.weight = step, nn.Linear(3 * c_in, c_out)
        if passing:
            pass_on(self.weight.weight[:, 2 * c_in :])

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[1]
        padded = F.pad(x, (0, 0, 0, 0, 0, 0, 2, 0))
        return self.weight(torch.cat([padded[:, k : k + count : self.step] for k in range(3)], -1))


class CausalBlock(nn.Module):
    """``(B, T, H, W, C)`` to the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1, self.space = nn.LayerNorm(channels), Spatial(channels, channels)
        self.norm2, self.time = nn.LayerNorm(channels), Temporal(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.space(F.silu(self.norm1(x)))
        return x + self.time(F.silu(self.norm2(h)))


class Halve(nn.Module):
    """Halves height and width, and with ``frames`` the frames too: T = 1 + 2k to 1 + k."""

    def __init__(self, c_in: int, c_out: int, *, frames: bool):
        super().__init__()
        self.space = nn.Linear(4 * c_in, c_out)
        self.time = Temporal(c_out, c_out, step=2, passing=True) if frames else nn.Identity()
        pass_on(self.space.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.time(self.space(rearrange(x, "b t (h p) (w q) c -> b t h w (c p q)", p=2, q=2)))


class Double(nn.Module):
    """The other way of ``Halve``."""

    def __init__(self, c_in: int, c_out: int, *, frames: bool):
        super().__init__()
        self.time = Temporal(c_in, 2 * c_in, passing=True) if frames else None
        self.space = nn.Linear(c_in, 4 * c_out)
        pass_on(self.space.weight)

    def forward(self, x: Tensor) -> Tensor:
        if self.time is not None:
            x = rearrange(self.time(x), "b t h w (c two) -> b (t two) h w c", two=2)[:, 1:]
        return rearrange(self.space(x), "b t h w (c p q) -> b t (h p) (w q) c", p=2, q=2)


@torch.no_grad()
def pass_on(weight: Tensor) -> None:
    """Add to ``(c_out, c_in)`` what gives means of neighbouring inputs, or copies of them where outputs are more."""
    weight += F.adaptive_avg_pool1d(torch.eye(weight.shape[1])[None], weight.shape[0])[0].T


def encoder(channels: int, out: int, widths: Sequence[int], halved: Sequence[bool], blocks: int) -> nn.Sequential:
    """``(B, channels, T, H, W)`` to ``(B, out, T', H', W')``, ``len(widths)`` times halved in space, and in time where
    ``halved``; blocks come after the first halving, as whole pictures are dear and simple."""
    layers: list[nn.Module] = []
    for width, frames, before in zip(widths, halved, (channels, *widths), strict=False):
        layers += [Halve(before, width, frames=frames), *(CausalBlock(width) for _ in range(blocks))]
    return _channels_last(*layers, nn.LayerNorm(widths[-1]), nn.Linear(widths[-1], out))


def decoder(latent: int, channels: int, widths: Sequence[int], halved: Sequence[bool], blocks: int) -> nn.Sequential:
    """The other way."""
    layers: list[nn.Module] = [Spatial(latent, widths[-1])]
    for width, frames, after in zip(widths[::-1], halved[::-1], (*widths[-2::-1], channels), strict=True):
        layers += [*(CausalBlock(width) for _ in range(blocks)), nn.LayerNorm(width)]
        layers.append(Double(width, after, frames=frames))
    return _channels_last(*layers)


def _channels_last(*layers: nn.Module) -> nn.Sequential:
    first, last = "b c t h w", "b t h w c"
    return nn.Sequential(Rearrange(f"{first} -> {last}"), *layers, Rearrange(f"{last} -> {first}"))
