"""How near a picture or clip is to the one it should be.

    PSNR = 10 log10(range^2 / mean (x - y)^2)        dB; inf where equal
    SSIM = mean over windows of (2 m_x m_y + c1)(2 s_xy + c2) / ((m_x^2 + m_y^2 + c1)(s_x^2 + s_y^2 + c2))

with Gaussian windows of 11 x 11 and standard deviation 1.5, c1 = (0.01 range)^2, c2 = (0.03 range)^2 (Wang et al.
2004, eq. 13). Values are in [-1, 1], so the range is 2.
"""

import torch
from torch import Tensor, nn

RANGE, SIZE, STD = 2.0, 11, 1.5


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """``(N, *S)`` twice -> ``(N,)`` dB."""
    error = (x.double() - y.double()).square().flatten(1).mean(1)
    return 10 * torch.log10(RANGE**2 / error)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Pictures ``(N, C, H, W)`` or clips ``(N, C, T, H, W)`` twice -> ``(N,)``, at most 1; sides of 11 at least."""
    if min(x.shape[-2:]) < SIZE:
        raise ValueError(f"SSIM looks through windows of {SIZE} x {SIZE}, pictures are {tuple(x.shape[-2:])}")
    offset = torch.arange(SIZE, dtype=torch.float64) - SIZE // 2
    line = torch.exp(-offset.square() / (2 * STD**2))
    line = line / line.sum()
    flat = [v.double().reshape(-1, 1, *v.shape[-2:]) for v in (x, y)]

    def mean(v: Tensor) -> Tensor:
        return nn.functional.conv2d(nn.functional.conv2d(v, line[None, None, :, None]), line[None, None, None])

    a, b = flat
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    both = mean(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    index = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return index.reshape(len(x), -1).mean(1)


def drift(clips: Tensor) -> Tensor:
    """How brightness strays within clips ``(N, C, T, H, W)`` -> ``(N,)``: |mean of the last frame - of the first|."""
    level = clips.double().mean((1, 3, 4))
    return (level[:, -1] - level[:, 0]).abs()
