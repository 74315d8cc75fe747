"""How things move in clips (N, C, T, H, W) in [-1, 1].

    centre_t       = sum_p w_p p / sum_p w_p,    w = |pixel - background|,  p in sides of the frame
    speed          = mean_t |centre_{t+1} - centre_t|
    acceleration   = mean_t |centre_{t+1} - 2 centre_t + centre_{t-1}|

One bright thing before an even background is what these see; they say nothing of a scene that moves as a whole.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


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
    places = orders[:, None, :, None, None].expand_as(clips)
    blurred = torch.nn.functional.avg_pool2d(clips.flatten(0, 2)[:, None], 3, 1, 1, count_include_pad=False)
    half = frames // 2
    return {
        "frozen first frame": clips[:, :, :1].expand_as(clips),
        "shuffled frames": clips.gather(2, places),
        "blurred 3 x 3": blurred[:, 0].reshape(clips.shape),
        "another clip from the middle on": torch.cat([clips[:, :, :half], clips.roll(1, 0)[:, :, half:]], 2),
        "noise, std 0.2": clips + 0.2 * torch.randn(clips.shape, generator=generator),
    }
