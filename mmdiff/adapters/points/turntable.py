"""A shape seen from all around: an animation, or its views side by side.

    .gif   loops for ever        .mp4   H.264, plays everywhere        .png   views in rows
"""

import math
import os
from pathlib import Path

import av
import numpy as np
from PIL import Image
from torch import Tensor

from .render import picture

SUFFIXES = (".gif", ".mp4", ".png")


def turntable(
    points: Tensor, path: str | Path, *, colors: Tensor | None = None, views: int = 24, size: int = 256,
    fps: float = 12.0, elevation: float = 20.0, up: str = "y",
) -> Path:
    """Write ``views`` pictures of ``(3, N)`` once around the axis ``up``, ``size`` pixels wide, ``fps`` a second.

    The file appears under its name only when complete. Raises ``ValueError`` for an unknown ending or NaN.
    """
    path, suffix = Path(path), Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"cannot write a turntable as {suffix!r}; there are {' '.join(SUFFIXES)}")
    if views < 1 or not fps > 0 or size < 16 or size % 2:
        raise ValueError(f"need views >= 1, fps > 0 and an even size >= 16, got {views}, {fps} and {size}")
    frames = [
        picture(points, colors=colors, size=size, azimuth=35 + 360 * i / views, elevation=elevation, up=up)
        for i in range(views)
    ]
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
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=round(fps), options={"crf": "18"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def _png(frames: list[np.ndarray], path: Path, fps: float) -> None:
    columns = math.ceil(math.sqrt(len(frames)))
    blank = [np.full_like(frames[0], 255)] * (-len(frames) % columns)
    rows = np.stack(frames + blank).reshape(-1, columns, *frames[0].shape)
    Image.fromarray(np.concatenate(list(np.concatenate(list(rows.transpose(1, 0, 2, 3, 4)), axis=2)))).save(path)
