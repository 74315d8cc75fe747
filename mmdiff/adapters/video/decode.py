"""Exact frames of a file, by their number in the order they are shown.

    seek to the last key frame at or before the wanted one, decode forward, drop what comes before;
    where that does not lead to it, decode from the start

One thread a decoder and one scaler a thread: a scaler that is made anew for each frame costs three times the decoding.
"""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter

from .alpha import BLACK, Colour, laid
from .index import VideoIndex, open_video, video_stream
from .orientation import Orientation

_local = threading.local()


def frames_at(
    path: str | Path, index: VideoIndex, positions: Sequence[int] | np.ndarray, *, height: int, width: int,
    channels: int = 3, background: Colour = BLACK,
) -> np.ndarray:
    """Frames ``(len(positions), height, width, channels)`` uint8, upright and scaled to that size; what is transparent
    shows the ``background``, and the fourth of 4 channels is how opaque it is.

    ``positions`` ascend and may repeat. Raises ``ValueError`` naming how many of them decode.
    """
    out = np.empty((len(positions), height, width, channels), np.uint8)
    wanted, done, reason = np.asarray(positions), 0, "it is damaged or cut off"
    if index.frames:
        for slot, k in enumerate(wanted):
            picture = Path(path) / index.frames[k]
            out[slot] = pixels(_picture(picture), index.orientation, height, width, channels, background)
        return out
    for pick in (_from_start,) if index.ordered else (_sought, _from_start):
        try:
            with open_video(Path(path)) as container:
                stream = video_stream(container, index.stream)
                for slots, frame in pick(container, stream, index, wanted[done:]):
                    out[done : done + slots] = pixels(frame, index.orientation, height, width, channels, background)
                    done += slots
        except av.FFmpegError as error:
            reason = error.strerror or str(error)
        if done == len(positions):
            return out
    raise ValueError(
        f"{path} decodes to {done} of {len(positions)} frames asked for of its {len(index.pts)}: {reason}"
    )


def _picture(path: Path) -> av.VideoFrame:
    try:
        with open_video(path) as container:
            return next(container.decode(video_stream(container)))
    except (av.FFmpegError, StopIteration) as error:
        raise ValueError(f"{path} cannot be read as a picture: {error or 'it holds none'}") from None


def _sought(
    container: av.container.InputContainer, stream: av.VideoStream, index: VideoIndex, positions: np.ndarray
) -> Iterator[tuple[int, av.VideoFrame]]:
    """(how many of the positions it fills, frame), by key frames."""
    wanted, at = index.pts[positions], 0
    while at < len(wanted):
        container.seek(int(index.keys[_key_before(index, wanted[at])]), stream=stream, backward=True, any_frame=False)
        before = at
        for frame in container.decode(stream):
            if frame.pts is None or frame.pts < wanted[at]:
                continue
            if frame.pts > wanted[at]:
                return                                                # passed by: some formats seek too far
            slots = int(np.searchsorted(wanted, wanted[at], "right")) - at
            yield slots, frame
            at += slots
            if at == len(wanted):
                return
            if _key_before(index, wanted[at]) > _key_before(index, frame.pts) + 1:
                break                                                 # nearer by seeking than by decoding on
        if at == before:
            return


def _from_start(
    container: av.container.InputContainer, stream: av.VideoStream, index: VideoIndex, positions: np.ndarray
) -> Iterator[tuple[int, av.VideoFrame]]:
    """(how many of the positions it fills, frame), decoding all that comes before."""
    at = 0
    for number, frame in enumerate(container.decode(stream)):
        if at == len(positions):
            return
        if number == positions[at] if index.ordered else frame.pts == index.pts[positions[at]]:
            slots = int(np.searchsorted(positions, positions[at], "right")) - at
            yield slots, frame
            at += slots


def _key_before(index: VideoIndex, pts: int) -> int:
    return max(0, int(np.searchsorted(index.keys, pts, "right")) - 1)


def pixels(
    frame: av.VideoFrame, turned: Orientation, height: int, width: int, channels: int, background: Colour
) -> np.ndarray:
    """A decoded frame as ``frames_at`` gives it."""
    clear = frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
    alpha = None
    if clear:
        image = frame.to_ndarray(format="rgba", src_color_range=frame.color_range, dst_color_range="JPEG")
        if image[..., 3].min() < 255:
            frame = av.VideoFrame.from_ndarray(laid(image, background), format="rgb24")
            alpha = av.VideoFrame.from_ndarray(image[..., 3].astype(np.uint8), format="gray")
            alpha.color_range = ColorRange.JPEG
    shown = _scaled(frame, turned, height, width, 1 if channels == 1 else 3)
    if channels < 4:
        return shown
    opaque = np.full((height, width, 1), 255, np.uint8) if alpha is None else _scaled(alpha, turned, height, width, 1)
    return np.concatenate([shown, opaque], -1)


def _scaled(frame: av.VideoFrame, turned: Orientation, height: int, width: int, channels: int) -> np.ndarray:
    if not hasattr(_local, "scaler"):
        _local.scaler = VideoReformatter()
    stored = turned.shape(height, width)
    smaller = stored[0] <= frame.height and stored[1] <= frame.width
    scaled = _local.scaler.reformat(
        frame, width=stored[1], height=stored[0], format="rgb24" if channels == 3 else "gray",
        interpolation="AREA" if smaller else "BICUBIC", src_color_range=frame.color_range, dst_color_range="JPEG",
        threads=1,
    )
    plane = scaled.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: stored[0], : stored[1] * channels]
    return turned.upright(rows.reshape(stored[0], stored[1], channels))
