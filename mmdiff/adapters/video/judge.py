"""Clips: motion, sharpness, drift, and nearness to the clip that should follow."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...metrics.pictures import SIZE, drift, psnr, ssim
from ..judge import Body, Judge
from .body import ClipBody
from .motion import acceleration, centres, corrupted, moved_along, sharpness, speed


class VideoJudge(Judge):
    """Clips ``(N, C, T, H, W)`` in [-1, 1], pictures being of one frame. ``background`` is the value of what is not the
    moving thing."""

    preprocessor = "AutoImageProcessor"
    name, suffix = "video", ".mkv"
    better: Mapping[str, int] = {"PSNR, dB": 1, "SSIM": 1}

    def __init__(self, *, background: float = -1.0, shifts: int = 0):
        self.background, self.shifts = background, shifts

    def body(self, **settings: int) -> Body:
        return ClipBody(**settings)

    def prepared(self, x: Tensor, prepare: Any, model: Any, **settings: int) -> Any:
        """As many frames as the network takes, evenly, in colour."""
        count = getattr(model.config, "num_frames", None) or x.shape[2]
        chosen = torch.linspace(0, x.shape[2] - 1, count).round().long()
        frames = ((x[:, :, chosen] + 1) * 127.5).round().clamp(0, 255).byte()[:, :3].expand(-1, 3, -1, -1, -1)
        clips = [list(clip) for clip in frames.permute(0, 2, 3, 4, 1).numpy()]            # of (H, W, 3)
        return prepare(clips, return_tensors="pt")

    def settings(self, codec: Any) -> dict[str, int]:
        return {"channels": codec.reading["channels"]}

    def stacked(self, samples: Sequence[Tensor], codec: Any, size: Mapping[str, float]) -> Tensor:
        """The first frames, resized; a shorter clip holds its last frame."""
        frames, height, width = (round(size.get(name, 1)) for name in ("frames", "height", "width"))
        clips = []
        for sample in samples:
            clip = torch.cat([sample[:, :frames], sample[:, -1:].repeat(1, max(0, frames - sample.shape[1]), 1, 1)], 1)
            clips.append(nn.functional.interpolate(clip, (height, width), mode="area"))
        return torch.stack(clips)

    def latents(self, x: Tensor, codec: Any) -> Tensor:
        return x.flatten(1)

    def values(self, x: Tensor, codec: Any) -> dict[str, Tensor]:
        where = centres(x, background=self.background)
        return {
            "speed, sides a frame": speed(where), "acceleration": acceleration(where), "sharpness": sharpness(x),
            "drift": drift(x), "brightness": x.double().flatten(1).mean(1),
        }

    def paired(self, x: Tensor, truth: Tensor) -> dict[str, Tensor]:
        distances = {"PSNR, dB": psnr(x, truth).clamp(max=100)}
        return distances | ({"SSIM": ssim(x, truth)} if min(x.shape[-2:]) >= SIZE else {})

    def continued(self, given: Tensor, length: int) -> dict[str, Tensor]:
        moved = {} if given.shape[2] < 2 else {"last frame, moved along": moved_along(given, length)}
        return {"last frame": given[:, :, -1:].repeat_interleave(length, 2), **moved}

    def faults(self, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        fade = torch.linspace(0, 1, x.shape[2])[:, None, None]
        out = {
            **corrupted(x, seed=int(torch.randint(2**31, (1,), generator=generator))),
            "fading to grey": x * (1 - fade),
        }
        if x.shape[2] == 1:                                           # nothing moves or fades in a picture
            out = {name: out[name] for name in ("blurred 3 x 3", "noise, std 0.2")}
        return {
            **out,
            "one clip for all": x[:1].expand_as(x).clone(),
            "labels shuffled": x.roll(max(1, len(x) // 3), 0),
        }
