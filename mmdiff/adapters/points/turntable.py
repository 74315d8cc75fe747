"""Shapes seen from all around, side by side: an animation, or a table of views.

    .gif   loops for ever        .mp4   H.264, plays everywhere        .png   a row a shape, a column a view
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from einops import rearrange
from PIL import Image

from .render import Shown, picture

SUFFIXES = (".gif", ".mp4", ".png")


def turntable(
    shapes: Sequence[Shown], path: str | Path, *, views: int = 24, size: int = 160, fps: float = 12.0,
    elevation: float = 20.0, up: str = "y",
) -> Path:
    """Write ``views`` pictures of each shape, once around the axis ``up``, ``size`` pixels wide, ``fps`` a second.

    The file appears under its name only when complete. Raises ``ValueError`` for an unknown ending, no shape, or NaN.
    """
    path, suffix = Path(path), Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"cannot write a turntable as {suffix!r}; there are {' '.join(SUFFIXES)}")
    if views < 1 or not fps > 0 or size < 16 or size % 2 or not shapes:
        raise ValueError(
            f"need views >= 1, fps > 0, an even size >= 16 and a shape, got {views}, {fps}, {size} and {len(shapes)}"
        )
    pictures = np.stack([
        [picture(s.points, colors=s.colors, size=size, azimuth=35 + 360 * i / views, elevation=elevation, up=up)
         for s in shapes] for i in range(views)
    ])                                                                # (views, shapes, size, size, 3)
    if suffix == ".png":
        frames = [_table(pictures.swapaxes(0, 1).reshape(-1, *pictures.shape[2:]), columns=views)]
    else:
        frames = [_table(part, columns=math.ceil(math.sqrt(len(shapes)))) for part in pictures]
    partial = path.with_name(f".{path.stem}.{os.getpid()}.writing{suffix}")
    try:
        {".gif": _gif, ".mp4": _mp4, ".png": _png}[suffix](frames, partial, fps)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _gif(frames: list[np.ndarray], path: Path, fps: float) -> None:
    first, *rest = [Image.fromarray(frame).quantize(128, dither=Image.Dither.NONE) for frame in frames]
    first.save(path, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)


def _mp4(frames: list[np.ndarray], path: Path, fps: float) -> None:
    with av.open(str(path.absolute()), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=round(fps), options={"crf": "18"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def _png(frames: list[np.ndarray], path: Path, fps: float) -> None:
    Image.fromarray(frames[0]).save(path)


def _table(pictures: np.ndarray, *, columns: int) -> np.ndarray:
    """``(n, H, W, 3)`` in rows of ``columns``, the last one filled up with white."""
    blank = np.full((-len(pictures) % columns, *pictures.shape[1:]), 255, np.uint8)
    return rearrange(np.concatenate([pictures, blank]), "(r c) h w d -> (r h) (c w) d", c=columns)
