"""How things move in clips (N, C, T, H, W) in [-1, 1].

    centre_t       = sum_p w_p p / sum_p w_p,    w = |pixel - background|,  p in sides of the frame
    speed          = mean_t |centre_{t+1} - centre_t|
    acceleration   = mean_t |centre_{t+1} - 2 centre_t + centre_{t-1}|

One bright thing before an even background is what these see; they say nothing of a scene that moves as a whole, for
which there is

    v = argmin mean over t and p of (x_{t+1}(p) - x_t(p - v))^2,     x_{T+k}(p) = x_T(p - k v)

the last frame moved along, as forecasts of rain are compared with (Pulkkinen et al. 2019, pysteps, section 2.2).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def centres(clips: Tensor, *, background: float = -1.0, least: float = 0.15) -> Tensor:
    """Centres ``(N, T, 2)`` as (y, x) in [0, 1]; differences below ``least`` do not count. NaN in an empty frame."""
    weight = (clips - background).abs().mean(1)                       # (N, T, H, W)
    weight = torch.where(weight > least, weight, 0).double()
    y, x = ((torch.arange(n, dtype=torch.float64) + 0.5) / n for n in weight.shape[2:])
    total = weight.sum((2, 3))
    return torch.stack([(weight.sum(3) * y).sum(2), (weight.sum(2) * x).sum(2)], -1) / total[..., None]


def speed(centre: Tensor) -> Tensor:
    """``(N, T, 2)`` -> ``(N,)``, sides a frame; NaN where a frame is empty."""
    return centre.diff(dim=1).norm(dim=2).mean(1)


def acceleration(centre: Tensor) -> Tensor:
    """``(N, T, 2)`` -> ``(N,)``, sides a frame squared; NaN where a frame is empty."""
    return centre.diff(n=2, dim=1).norm(dim=2).mean(1)


def sharpness(clips: Tensor) -> Tensor:
    """Energy of the Laplacian over that of the clip's contrast ``(N,)``: low where blurred, high where noisy."""
    x = clips.double()
    laplacian = (
        x[..., 2:, 1:-1] + x[..., :-2, 1:-1] + x[..., 1:-1, 2:] + x[..., 1:-1, :-2] - 4 * x[..., 1:-1, 1:-1]
    )
    return laplacian.square().flatten(1).mean(1) / x.flatten(1).var(1).clamp(min=1e-12)


def corrupted(clips: Tensor, *, seed: int = 0) -> Mapping[str, Tensor]:
    """Real clips ``(N, C, T, H, W)`` made wrong in one way each: what a score has to see."""
    generator = torch.Generator().manual_seed(seed)
    frames = clips.shape[2]
    orders = torch.stack([torch.randperm(frames, generator=generator) for _ in clips])
    index = orders[:, None, :, None, None].expand_as(clips)
    blurred = nn.functional.avg_pool2d(clips.flatten(0, 2)[:, None], 3, 1, 1, count_include_pad=False)
    half = frames // 2
    return {
        "frozen first frame": clips[:, :, :1].expand_as(clips),
        "shuffled frames": clips.gather(2, index),
        "blurred 3 x 3": blurred[:, 0].reshape(clips.shape),
        "another clip from the middle on": torch.cat([clips[:, :, :half], clips.roll(1, 0)[:, :, half:]], 2),
        "noise, std 0.2": clips + 0.2 * torch.randn(clips.shape, generator=generator),
    }


def moved_along(clips: Tensor, length: int, *, reach: int = 8) -> Tensor:
    """``(N, C, T, H, W)`` of two frames at least -> the ``length`` that follow, the last one moved by what all moved on
    average, to fractions of a pixel and at most ``reach``; what comes in repeats the edge."""
    steps = range(-reach, reach + 1)
    errors = torch.stack([torch.stack([_error(clips, y, x) for x in steps]) for y in steps], 0).permute(2, 0, 1)
    flat = errors.flatten(1).argmin(1)
    at = torch.stack([flat // len(steps), flat % len(steps)], 1)                              # (N, 2)
    n, fine = torch.arange(len(clips)), []
    for axis in (0, 1):                                               # a parabola through the three around the least
        three = []
        for step in (-1, 0, 1):
            where = at.clone()
            where[:, axis] = (where[:, axis] + step).clamp(0, 2 * reach)
            three.append(errors[n, where[:, 0], where[:, 1]])
        bend = three[0] - 2 * three[1] + three[2]
        inside = (at[:, axis] > 0) & (at[:, axis] < 2 * reach) & (bend > 0)
        fine.append(torch.where(inside, (three[0] - three[2]) / (2 * bend.clamp(min=1e-12)), 0))
    v = (at - reach).double() + torch.stack(fine, 1)                                          # (N, 2), y and x
    return torch.stack([_moved(clips[:, :, -1], (k + 1) * v) for k in range(length)], 2)


def _error(clips: Tensor, y: int, x: int) -> Tensor:
    """Mean squared difference ``(N,)`` of each frame to the one before, moved by whole pixels, where both are seen."""
    height, width = clips.shape[-2:]
    if abs(y) >= height or abs(x) >= width:
        return torch.full((len(clips),), torch.inf, dtype=torch.float64)
    rows, columns = (slice(max(0, d), size + min(0, d)) for d, size in ((y, height), (x, width)))
    before, across = (slice(max(0, -d), size - max(0, d)) for d, size in ((y, height), (x, width)))
    difference = clips[:, :, 1:, rows, columns] - clips[:, :, :-1, before, across]
    return difference.square().double().flatten(1).mean(1)


def _moved(frames: Tensor, v: Tensor) -> Tensor:
    """``frames`` ``(N, C, H, W)`` moved by ``v`` ``(N, 2)`` pixels, linear in between."""
    height, width = frames.shape[-2:]
    y, x = (torch.arange(size, dtype=v.dtype) for size in (height, width))
    y, x = (2 * (line + 0.5 - d[:, None]) / len(line) - 1 for line, d in ((y, v[:, 0]), (x, v[:, 1])))
    grid = torch.stack([x[:, None].expand(-1, height, -1), y[..., None].expand(-1, -1, width)], -1).to(frames)
    return nn.functional.grid_sample(frames, grid, padding_mode="border", align_corners=False)
