"""Video files to clips.

    frame k of a clip  =  the frame shown at  (start + k) / fps          by time, so any frame rate becomes the model's
    picture            =  scaled to cover height x width, then cropped

Pictures and animations are read too: a picture is a clip of one frame.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ...data.reader import Advice
from ..base import Reader
from .advice import recipe
from .alpha import colour
from .cache import ClipCache
from .decode import frames_at
from .frames import frames_of, joined
from .index import VideoIndex
from .rates import common_rate

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv",
    ".ogv", ".3gp", ".mxf", ".vob", ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff",
)
ASPECT = 0.02
"""By how much the aspect ratio of a file may differ from that of the sample which it is beside."""
ClipSize = tuple[int, int, int]
FPS = 8.0
"""Frames per second where neither a setting nor a file tells."""


class VideoReader(Reader):
    """Files to clips ``(channels, T, H, W)`` float32 in [-1, 1], over a ``background``, at ``fps`` frames per second
    (None: those of the files, which ``settle`` finds).

    T, H and W are ``frames``, ``height`` and ``width``, or with ``buckets`` those of the (frames, height, width) that
    fits a file best: of those that it is long enough for, the nearest aspect ratio, then the most frames, then the
    largest that is not larger than the file's picture. Longer files are cropped in time (at random with an ``rng``,
    else from the start), shorter ones refused. A folder of numbered pictures is one clip, a picture a frame, with
    ``sequences`` (default: where every bucket has more than one frame). ``crop`` places the picture's window. ``cache``
    is a folder for decoded frames: disk instead of decoding time.
    """

    suffixes = SUFFIXES
    timed = True
    incidental = ("cache",)

    def __init__(
        self, channels: int = 3, *, fps: float | None = None, background: str = "black", frames: int = 16,
        height: int = 64, width: int = 64, buckets: Sequence[ClipSize] = (),
        crop: Literal["centre", "random"] = "centre", sequences: bool | None = None, cache: str | Path | None = None,
    ):
        sizes = [tuple(int(n) for n in b) for b in buckets] or [(int(frames), int(height), int(width))]
        if any(len(b) != 3 or min(b) < 1 for b in sizes):
            raise ValueError(f"a bucket is (frames, height, width), each at least 1; got {sizes}")
        self.buckets: list[ClipSize] = [(b[0], b[1], b[2]) for b in sizes]
        if crop not in ("centre", "random"):
            raise ValueError(f"crop is 'centre' or 'random', got {crop!r}")
        self.channels, self.crop, self.background = channels, crop, colour(background)
        self.fps, self.open = FPS if fps is None else float(fps), fps is None
        self.sequences = all(b[0] > 1 for b in self.buckets) if sequences is None else sequences
        self.cache = None if cache is None else ClipCache(cache)

    def shape(self, path: Path) -> ClipSize:
        """The bucket (frames, height, width) that a file is read in. Raises ``ValueError`` if it is too short for all.
        """
        index = VideoIndex.of(path, fps=self.fps)
        first, last = self.span(count(index, self.fps))
        length = last - first
        fitting = [b for b in self.buckets if b[0] <= length]
        if not fitting:
            raise ValueError(
                f"{path} has {length} frames at {self.fps:g} frames/s (adapter.codec.fps), shorter than a clip of "
                f"{min(b[0] for b in self.buckets)} (adapter.reader.frames)"
            )
        height, width = index.shown

        def fitness(bucket: ClipSize) -> tuple:
            frames, h, w = bucket
            fits = h <= height and w <= width
            return (round(abs(np.log(w * height / (h * width))), 3), -frames, not fits, -h * w if fits else h * w)

        return min(fitting, key=fitness)

    def infer(self, paths: Sequence[Path]) -> dict[str, Any]:
        if self.open and any(frames > 1 for frames, _, _ in self.buckets):
            self.fps = common_rate(paths, otherwise=FPS)
        self.open = False
        return {"fps": self.fps}

    def advice(self, paths: Sequence[Path], *, count: int, small: bool) -> list[Advice]:
        return recipe(paths, count=count, small=small) if any(frames > 1 for frames, _, _ in self.buckets) else []

    def samples(self, paths: Sequence[Path]) -> list[Path]:
        return joined(paths) if self.sequences else list(paths)

    def files(self, path: Path) -> list[Path]:
        return frames_of(path) if path.is_dir() else [path]

    def clips(self, path: Path) -> int:
        first, last = self.span(count(VideoIndex.of(path, fps=self.fps), self.fps))
        return (last - first) // self.shape(path)[0]

    def misfit(self, path: Path, other: Path) -> str | None:
        (first, second) = (VideoIndex.of(file, fps=self.fps) for file in (path, other))
        if (n := count(first, self.fps)) != (m := count(second, self.fps)):
            return f"has {m} frames at {self.fps:g} frames/s, and its sample {n}"
        (height, width), (h, w) = first.shown, second.shown
        if abs(h * width - w * height) > ASPECT * w * height:
            return f"shows {h} x {w} pixels, which is another shape of picture than {height} x {width}"
        return None

    def read(self, path: Path, rng: np.random.Generator | None = None) -> Tensor:
        """One clip ``(C, T, H, W)``. Raises ``ValueError`` for a file that is corrupt, cut off or too short."""
        frames, height, width = self.shape(path)
        index = VideoIndex.of(path, fps=self.fps)
        first, last = self.span(count(index, self.fps))
        start = first + (0 if rng is None else int(rng.integers(last - first - frames + 1)))
        size = cover(index.shown, (height, width))
        options: dict[str, Any] = {
            "height": size[0], "width": size[1], "channels": self.channels, "background": self.background,
        }
        if self.cache is None:
            clip = frames_at(path, index, shown_at(index, self.fps, start, frames), **options)
        else:
            full = self.cache.get(
                {"file": index.digest, "fps": self.fps, **options},
                lambda: frames_at(path, index, shown_at(index, self.fps, 0, count(index, self.fps)), **options),
            )
            clip = full[start : start + frames]
        offsets = [(have - want) // 2 for have, want in zip(size, (height, width), strict=True)]
        if self.crop == "random" and rng is not None:
            offsets = [int(rng.integers(have - want + 1)) for have, want in zip(size, (height, width), strict=True)]
        y, x = offsets
        return sample(clip[:, y : y + height, x : x + width])


def read_clip(
    path: str | Path, *, height: int, width: int, channels: int = 3, fps: float | None = None, background: str = "black"
) -> Tensor:
    """A whole file ``(channels, T, height, width)`` in [-1, 1]; ``fps`` None takes its frames as they are."""
    index = VideoIndex.of(path, fps=fps)
    size = cover(index.shown, (height, width))
    positions = range(len(index.pts)) if fps is None else shown_at(index, fps, 0, count(index, fps))
    clip = frames_at(
        path, index, positions, height=size[0], width=size[1], channels=channels, background=colour(background)
    )
    y, x = ((have - want) // 2 for have, want in zip(size, (height, width), strict=True))
    return sample(clip[:, y : y + height, x : x + width])


def sample(clip: np.ndarray) -> Tensor:
    """``(T, H, W, C)`` uint8 -> ``(C, T, H, W)`` in [-1, 1]."""
    return torch.from_numpy(clip.transpose(3, 0, 1, 2).astype(np.float32) / 127.5 - 1)


def count(index: VideoIndex, fps: float) -> int:
    """How many frames a file gives at a frame rate; a picture gives one."""
    return max(1, int(index.seconds * fps + 0.01))


def shown_at(index: VideoIndex, fps: float, start: int, frames: int) -> np.ndarray:
    """Positions of the frames shown at ``(start + k) / fps`` seconds, k below ``frames``."""
    seconds = (start + np.arange(frames)) / fps
    steady = not np.ptp(np.diff(index.pts)) if len(index.pts) > 1 else True
    tick = 1e-6 + (0 if steady else float(index.time_base) / 2)       # uneven times may be rounded to the file's clock
    return np.maximum(np.searchsorted(index.times, seconds + tick, "right") - 1, 0)


def cover(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """The smallest (height, width) of the aspect ratio of ``size`` that covers ``wanted``."""
    scale = max(w / s for w, s in zip(wanted, size, strict=True))
    height, width = (max(w, round(s * scale)) for w, s in zip(wanted, size, strict=True))
    return height, width
