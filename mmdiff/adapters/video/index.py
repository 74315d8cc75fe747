"""What a file holds, found once by reading its packets: the display time of every frame, and which are key frames.

    frame shown at time s  =  the last with pts <= s          times count from the first frame

Headers are not asked: frame counts and durations there are often missing or wrong, and frame rates vary. Frames at
either end that packets announce but no decoder gives (a file cut off, a recording that starts between key frames) are
left out, so that a start drawn at random finds frames.
"""

import hashlib
import json
import os
import struct
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from ...data.cached import cache_folder, keep
from .frames import frames_of, look
from .orientation import Orientation, orientation


class VideoIndex(NamedTuple):
    """``pts`` ``(N,)`` int64 of all frames as shown, ``keys`` those of key frames, in units of ``time_base`` seconds.

    ``width`` and ``height`` are those of square pixels, as stored, before ``orientation`` turns them upright.
    ``ordered`` tells that packets carry no times: frames are then counted from the start. A folder of pictures has its
    ``frames`` by name, one after another at whatever rate it is asked for.
    """

    pts: np.ndarray
    keys: np.ndarray
    time_base: Fraction
    width: int
    height: int
    orientation: Orientation
    stream: int
    ordered: bool
    digest: str
    frames: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[int, int]:
        """(height, width) when upright."""
        return self.orientation.shape(self.height, self.width)

    @property
    def times(self) -> np.ndarray:
        """Seconds ``(N,)`` from the first frame."""
        return (self.pts - self.pts[0]) * float(self.time_base)

    @property
    def seconds(self) -> float:
        """How long the file is shown: the last frame stays for the median interval."""
        times = self.times
        return float(times[-1] + np.median(np.diff(times))) if len(times) > 1 else 0.0

    @property
    def rate(self) -> float | None:
        """Frames per second, on average; None for pictures."""
        times = self.times
        return None if self.frames or len(times) < 2 or not times[-1] else float((len(times) - 1) / times[-1])

    @staticmethod
    def of(path: str | Path, folder: str | Path | None = None, *, fps: float | None = None) -> "VideoIndex":
        """The index of a file, kept in ``folder`` (default: $MMDIFF_CACHE, or ~/.cache/mmdiff) until the file changes;
        ``fps`` is the rate of folders of pictures, which have none of their own.

        Raises ``ValueError`` for what is no video, or holds no frame.
        """
        path = Path(path).absolute()
        if path.is_dir():
            return _of_pictures(path, folder, Fraction(fps or 1).limit_denominator(1_000_000))
        if not path.is_file():
            raise ValueError(f"{path} does not exist or is no file")
        stat = path.stat()
        if not stat.st_size:
            raise ValueError(f"{path} is empty (0 bytes)")
        stored = _index_file(folder, os.fsencode(path) + f" {stat.st_size} {stat.st_mtime_ns} 3".encode())
        try:
            return _unpacked(json.loads(stored.read_bytes()))
        except (OSError, ValueError, TypeError, KeyError):
            index = _scan(path)
        _store(stored, index)
        return index


def _index_file(folder: str | Path | None, key: bytes) -> Path:
    return cache_folder(folder) / "index" / f"{hashlib.sha256(key).hexdigest()[:32]}.json"


def _of_pictures(path: Path, folder: str | Path | None, rate: Fraction) -> VideoIndex:
    frames = frames_of(path)
    stats = [(frame.name, (stat := frame.stat()).st_size, stat.st_mtime_ns) for frame in frames]
    stored = _index_file(folder, os.fsencode(path) + f" {stats} 3".encode())
    try:
        return _unpacked(json.loads(stored.read_bytes()))._replace(time_base=1 / rate)
    except (OSError, ValueError, TypeError, KeyError):
        width, height, turned, digest = look(frames)
    times = np.arange(len(frames), dtype=np.int64)
    index = VideoIndex(times, times, 1 / rate, width, height, turned, 0, True, digest, tuple(f.name for f in frames))
    _store(stored, index)
    return index


def open_video(path: Path) -> av.container.InputContainer:
    """An open container. Raises ``ValueError`` with FFmpeg's reason."""
    form = "apng" if _animated(path) else None
    try:                                                              # "12:30.mp4" alone would be a protocol
        return av.open(str(path.absolute()), format=form, metadata_errors="ignore")
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"{path} cannot be read as video: {error.strerror or error}") from None


def _animated(path: Path) -> bool:
    """Whether a PNG is a film, which FFmpeg sees in its first 2 kB alone: a signature may come before."""
    with suppress(OSError, struct.error), path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            return False
        while True:
            size, name = struct.unpack(">I4s", file.read(8))
            if name in (b"acTL", b"IDAT"):
                return name == b"acTL"
            file.seek(size + 4, 1)
    return False


def video_stream(container: av.container.InputContainer, index: int | None = None) -> av.VideoStream:
    """The stream of that index, or the one that players choose; pictures attached to sound are none."""
    if index is not None:
        stream: object = container.streams[index]
    else:
        known = [s for s in container.streams.video if s.codec_context is not None and not _attached(s)]
        best = container.streams.best("video")
        stream = best if best in known else next(iter(known), None)
    if not isinstance(stream, av.VideoStream):
        raise ValueError("it has no video stream of a known codec")
    stream.thread_type, stream.codec_context.thread_count = "SLICE", 1        # data workers are parallel already
    return stream


def _attached(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _scan(path: Path) -> VideoIndex:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    try:
        with open_video(path) as container:
            stream = video_stream(container)
            number = stream.index                                     # of a closed container nothing may be asked
            packets = [
                (p.pts, p.is_keyframe) for p in container.demux(stream) if p.size and not p.is_discard
            ]
        with open_video(path) as container:
            stream = video_stream(container, number)
            first = next(iter(container.decode(stream)), None)
            if first is None:
                raise ValueError("no frame of it decodes")
            turned, width = orientation(first, path), _square(first.width, stream)
            ordered = any(pts is None for pts, _ in packets) or len({pts for pts, _ in packets}) < len(packets)
            count = 1 + sum(1 for _ in container.decode(stream)) if ordered else 0
            rate = stream.guessed_rate or stream.average_rate or Fraction(25)
            base = Fraction(1) / rate if ordered or stream.time_base is None else stream.time_base
            times = np.arange(count) if ordered else _decoded(container, stream, packets, first.pts)
    except av.FFmpegError as error:
        raise ValueError(f"{path} cannot be read as video: {error.strerror or error}") from None
    except ValueError as error:
        text = str(error)
        raise ValueError(text if str(path) in text else f"{path} cannot be read as video: {text}") from None
    keys = np.array([] if ordered else sorted(pts for pts, key in packets if key and pts is not None))
    keys = keys if len(keys) else times[:1]
    return VideoIndex(
        times.astype(np.int64), keys.astype(np.int64), base, width, first.height, turned, number, ordered,
        digest.hexdigest(),
    )


def _square(width: int, stream: av.VideoStream) -> int:
    """A width in square pixels. Aspects within 3 % of 1 are left by resizing to whole pixels, those beyond 4 by errors.
    """
    aspect = stream.sample_aspect_ratio
    return round(width * aspect) if aspect and 0.25 <= aspect <= 4 and abs(aspect - 1) > 0.03 else width


def _decoded(
    container: av.container.InputContainer, stream: av.VideoStream, packets: list[tuple[int | None, bool]],
    first: int | None,
) -> np.ndarray:
    """The times of packets, ascending, without those before the first frame and from the first that fails at the end.
    """
    times = np.array(sorted(pts for pts, _ in packets if pts is not None))
    if first is not None:
        times = times[np.searchsorted(times, first) :]
    keys = sorted(pts for pts, key in packets if key and pts is not None)[-2:]    # frames before a key may need it
    seen: set[int] = set()
    try:
        container.seek(int(keys[0] if keys else times[0]), stream=stream, backward=True)
        seen.update(frame.pts for frame in container.decode(stream) if frame.pts is not None)
    except av.FFmpegError:
        pass                                                          # what came before it counts
    if not seen or (keys and min(seen) > keys[0]):
        return times                                                  # it does not seek: nothing is known of its end
    missing = [i for i in range(np.searchsorted(times, min(seen)), len(times)) if times[i] not in seen]
    return times[: missing[0]] if missing else times


def _store(path: Path, index: VideoIndex) -> None:
    packed = {**index._asdict(), "pts": index.pts.tolist(), "keys": index.keys.tolist()}
    packed["time_base"] = [index.time_base.numerator, index.time_base.denominator]
    keep(path, lambda file: file.write(json.dumps(packed).encode()))


def _unpacked(packed: dict) -> VideoIndex:
    arrays = {name: np.array(packed[name], dtype=np.int64) for name in ("pts", "keys")}
    turned = Orientation(*packed["orientation"])
    packed = {**packed, **arrays, "time_base": Fraction(*packed["time_base"]), "orientation": turned}
    return VideoIndex(**{**packed, "frames": tuple(packed["frames"])})
