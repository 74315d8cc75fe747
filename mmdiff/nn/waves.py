"""Networks over time for sound: from spectra to spectra (ConvNeXt), and from waves to fewer channels and back.

    ConvNeXt     h = h + g W2 gelu(W1 LN(depthwise_7(h)))                      LN over channels, at each frame alone
    residual     h = h + W c(dilated_3(c(h))),  dilations 1, 3, 9              c(x) = x + sin^2(a x) / a    (snake)
    shorten      W (c(h)) with windows of 2 s every s samples                  lengthen: the transposed of it

(Siuzdak 2024, Vocos, section 3.2; Ziyin et al. 2020 for snake; Kumar et al. 2023, DAC, section 3.1.) No statistic is
taken over time, so what a position sees is bounded, and long sounds can be made in parts.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DILATIONS = (1, 3, 9)


class ConvNeXtBlock(nn.Module):
    """``(B, C, T)`` to the same."""

    def __init__(self, width: int, *, ratio: int = 3):
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, ratio * width), nn.Linear(ratio * width, width)
        self.gain = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.depthwise(x).transpose(1, 2))
        return x + (self.gain * self.down(F.gelu(self.up(h)))).transpose(1, 2)


class ConvNeXt(nn.Module):
    """``(B, c_in, T) -> (B, c_out, T)`` in ``depth`` blocks; each frame sees 3 (depth + 1) on either side."""

    def __init__(self, c_in: int, c_out: int, *, width: int, depth: int):
        super().__init__()
        self.enter = nn.Conv1d(c_in, width, 7, padding=3)
        self.blocks = nn.ModuleList(ConvNeXtBlock(width) for _ in range(depth))
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, c_out)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        for block in self.blocks:
            h = block(h)
        with torch.autocast(x.device.type, enabled=False):            # a phase of 8 bits would be heard
            return self.leave(self.norm(h.float().transpose(1, 2))).transpose(1, 2)


class Snake(nn.Module):
    """x + sin^2(a x) / a, with an a for each channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.rate = nn.Parameter(torch.ones(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.rate * x).sin().square() / (self.rate + 1e-9)


class Residual1d(nn.Module):
    """Dilated convolutions of ``(B, C, T)`` beside the sound itself; sees 13 positions on either side."""

    def __init__(self, channels: int):
        super().__init__()
        self.parts = nn.ModuleList(nn.Sequential(
            Snake(channels), nn.Conv1d(channels, channels, 3, dilation=d, padding=d), Snake(channels),
            nn.Conv1d(channels, channels, 1),
        ) for d in DILATIONS)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = x + part(x)
        return x


def wave_encoder(channels: int, out: int, widths: Sequence[int], strides: Sequence[int]) -> nn.Sequential:
    """``(B, channels, L) -> (B, out, L / prod(strides))``; ``widths`` after each stride."""
    layers: list[nn.Module] = [nn.Conv1d(channels, widths[0], 7, padding=3)]
    for before, after, stride in zip((widths[0], *widths), widths, strides, strict=False):
        layers += [Residual1d(before), Snake(before),
                   nn.Conv1d(before, after, 2 * stride, stride=stride, padding=(stride + 1) // 2)]
    return nn.Sequential(*layers, Snake(widths[-1]), nn.Conv1d(widths[-1], out, 3, padding=1))


def wave_decoder(latent: int, channels: int, widths: Sequence[int], strides: Sequence[int]) -> nn.Sequential:
    """The other way."""
    layers: list[nn.Module] = [nn.Conv1d(latent, widths[-1], 3, padding=1)]
    for before, after, stride in zip(widths[::-1], (*widths[-2::-1], widths[0]), strides[::-1], strict=True):
        layers += [Snake(before), nn.ConvTranspose1d(
            before, after, 2 * stride, stride=stride, padding=(stride + 1) // 2, output_padding=stride % 2),
            Residual1d(after)]
    return nn.Sequential(*layers, Snake(widths[0]), nn.Conv1d(widths[0], channels, 7, padding=3))
