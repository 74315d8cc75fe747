"""Frames to latents and back: what all codecs of clips share, and pixels, whitened.

Pixels are in [-1, 1], with one std for all channels: the strength of a colour against the others is part of the
picture.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..attacks import Attack
from ..base import Amount, Count
from ..judge import Judge
from ..whitened import WhitenedCodec
from .alpha import colour
from .attacks import attacks
from .judge import VideoJudge
from .pictures import contact_sheet
from .reader import FPS, read_clip
from .write import SUFFIXES, write_video

SHOWN = 128
"""Pixels of the shorter side that a written clip has at least: smaller ones are enlarged by a whole factor."""


class ClipCodec(WhitenedCodec):
    """Clips ``(B, colours, T, H, W)`` in [-1, 1], their files and pictures; ``colours`` 3, 1 for grey, or 4 for colour
    and how opaque it is.

    ``fps`` is the frame rate (frames per second) that clips are read, made and written at; ``background`` the name of
    the colour that shows where they are transparent.
    """

    suffix = ".mp4"

    def __init__(
        self, channels: int, *, colours: int, fps: float, background: str, groups: Mapping[str, int],
        bounds: tuple[float, float],
    ):
        if not 0 < fps <= 1000:
            raise ValueError(f"fps is in frames per second, above 0 and at most 1000; got {fps}")
        colour(background)
        super().__init__(channels, groups=groups, bounds=bounds)
        self.colours, self.fps, self.background = colours, float(fps), background

    @property
    def reading(self) -> dict[str, Any]:
        return {"channels": self.colours, "fps": self.fps, "background": self.background}

    def clip_shape(
        self, *, height: float, width: float, frames: float | None = None, seconds: float | None = None
    ) -> tuple[int, int, int]:
        """``(T, H, W)`` of a clip; ``seconds``, if told, goes before ``frames``."""
        if seconds is not None:
            frames = max(1, round(seconds * self.fps)) if 0 < seconds < math.inf else 0
        size = int(frames or 0), int(height or 0), int(width or 0)
        if min(size) < 1 or size != (frames or 0, height, width):
            raise ValueError(
                f"frames (or seconds), height and width must be whole and positive, got frames={frames}, "
                f"seconds={seconds}, height={height}, width={width}"
            )
        return size

    def size(self, sample: Tensor) -> dict[str, float]:
        return dict(zip(("frames", "height", "width"), sample.shape[1:], strict=True))

    def save(self, sample: Tensor, path: Path) -> Path:
        upscale = max(1, math.ceil(SHOWN / min(sample.shape[-2:])))
        return write_video(sample, path, self.fps, upscale=upscale, background=self.background)

    def endings(self, **options: Any) -> tuple[str, ...]:
        return SUFFIXES

    def load(self, path: Path, *, height: float, width: float, **size: float) -> Tensor:
        return read_clip(path, height=int(height), width=int(width), **{**self.reading, "fps": self.fps})

    def judge(self) -> Judge:
        return VideoJudge()

    def attacks(self) -> dict[str, Attack]:
        return attacks(self.fps, self.colours, self.background)

    def preview(self, samples: list[Tensor], titles: list[str], path: Path) -> Path:
        return contact_sheet(samples, titles, path)


class PixelCodec(ClipCodec):
    """Samples ``(B, C, T, H, W)`` in [-1, 1] <-> latents of the same shape; ``channels`` are the colours.

    ``fps`` may be left to the files (null; 8 without).
    """

    of_files = ("fps",)

    def __init__(self, channels: int = 3, *, fps: float | None = None, background: str = "black"):
        if channels not in (1, 3, 4):
            raise ValueError(f"channels is 3 (colour), 1 (grey) or 4 (colour and alpha), got {channels}")
        super().__init__(
            channels, colours=channels, fps=FPS if fps is None else fps, background=background,
            groups={"pixels": channels}, bounds=(-1.0, 1.0),
        )
        self._fps = fps

    @property
    def reading(self) -> dict[str, Any]:
        return {**super().reading, "fps": self._fps}

    def latent_shape(
        self, *, height: Count, width: Count, frames: Count | None = None, seconds: Amount | None = None
    ) -> tuple[int, int, int]:
        """``(T, H, W)``; ``seconds``, if told, goes before ``frames``."""
        return self.clip_shape(height=height, width=width, frames=frames, seconds=seconds)
