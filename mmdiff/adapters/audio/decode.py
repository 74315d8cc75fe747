"""Sound files to samples: all of them, or a part.

    place   start = first + floor(place (last - first - count + 1)),  place in [0, 1)
            first and last: the first sample of the part that is asked for, and the one behind its last

libsndfile opens what it knows and FFmpeg the rest; both seek to the part that is needed. Lengths are measured where a
header does not tell them: an ADTS stream's is a guess that can be ten times too long.
"""

import math
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import soundfile

Span = Callable[[int], tuple[int, int]]
RATES = (1000, 768_000)
UNKNOWN_LENGTH = 2**62
"""Samples: what libsndfile says of a FLAC stream that came through a pipe is more."""
OGG, MPEG = (".ogg", ".oga", ".opus"), (".mp3", ".mp2")
FIRST_PAGE, LATER_PAGE = b"OggS\x00\x02", re.compile(b"OggS\\x00[\\x00\\x01\\x04\\x05]")
TAGS = (b"ID3", b"TAG", b"APETAGEX")
UNOPENED = "neither libsndfile nor FFmpeg can open it"
PREROLL = 1.0
"""Seconds decoded and thrown away after a seek: a compressed frame leans on those before it (MP3: half a second)."""


class Excerpt(NamedTuple):
    """Decoded samples ``(C, L)`` float32 at ``sample_rate`` Hz; ``complete`` if that is all of the part asked for."""

    samples: np.ndarray
    sample_rate: int
    complete: bool


def decode(path: Path, *, seconds: float | None = None, position: float = 0.0, span: Span | None = None) -> Excerpt:
    """A file, or ``seconds`` of it: its start is ``position`` in [0, 1) between the first and the last that there is.
    ``span`` says which samples of how many there are.

    Raises ``ValueError`` with a reason.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist or is no file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes)")
    stat = path.stat()
    if path.suffix.lower() in OGG and _chained(path, stat.st_size, stat.st_mtime_ns):
        raise ValueError(f"{path} holds several recordings one after another, of which only the first would be read: "
                         "make it one, or a file each")
    decoders = [_soundfile, _ffmpeg]
    if path.suffix.lower() in MPEG:
        decoders.reverse()                                            # libmpg123 stumbles, aloud, after a seek
    reasons = []
    for decoder in decoders:
        try:
            clip = decoder(path, seconds, position, span or _all)
            break
        except (soundfile.SoundFileError, av.FFmpegError, ValueError, MemoryError) as error:
            reasons.append(error)
    else:
        causes = [str(e) for e in reasons if isinstance(e, ValueError) and not isinstance(e, av.FFmpegError)]
        reason = causes[0] if causes else UNOPENED
        raise ValueError(f"{path} cannot be read as sound: {reason}")
    if clip.samples.size == 0:
        raise ValueError(f"{path} holds no samples")
    return clip


def duration(path: Path) -> float:
    """Seconds of a file. Raises ``ValueError`` for one that cannot be decoded."""
    if path.suffix.lower() not in MPEG:
        try:
            info = soundfile.info(path)
            if 0 < info.frames < UNKNOWN_LENGTH:
                return info.frames / info.samplerate
        except soundfile.SoundFileError:
            pass
    stat = path.stat()
    try:
        total, rate = _length(path, stat.st_size, stat.st_mtime_ns)
    except (av.FFmpegError, ValueError) as error:
        reason = UNOPENED if isinstance(error, av.FFmpegError) else error
        raise ValueError(f"{path} cannot be read as sound: {reason}") from None
    return total / rate


@lru_cache(maxsize=1_000_000)
def _chained(path: Path, size: int, changed: int) -> bool:
    """Whether a page of an Ogg file begins a stream after one that goes on with another (RFC 3533, section 6)."""
    data = path.read_bytes()
    later = LATER_PAGE.search(data)
    return later is not None and data.find(FIRST_PAGE, later.start()) >= 0


def _all(total: int) -> tuple[int, int]:
    return 0, total


def _start(span: tuple[int, int], count: int, position: float) -> int:
    first, last = span
    return first + int(position * (max(last - first - count, 0) + 1))


def _soundfile(path: Path, seconds: float | None, position: float, span: Span) -> Excerpt:
    with soundfile.SoundFile(path) as file:
        rate = _checked(file.samplerate)
        if not 0 < file.frames < UNKNOWN_LENGTH:
            raise ValueError("its header does not tell its length")
        first, last = span(file.frames)
        count = last - first if seconds is None else min(last - first, math.ceil(seconds * rate))
        file.seek(_start((first, last), count, position))
        samples = file.read(count, dtype="float32", always_2d=True)
        if len(samples) < count:
            raise ValueError(f"ends after {len(samples)} of {count} samples")
        return Excerpt(np.ascontiguousarray(samples.T), rate, count == last - first)


def _checked(rate: int) -> int:
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"its sample rate of {rate} Hz is not within {RATES[0]} to {RATES[1]} Hz")
    return rate


def _ffmpeg(path: Path, seconds: float | None, position: float, span: Span) -> Excerpt:
    if seconds is None:
        samples, rate = _decoded(path)
        return Excerpt(samples[:, slice(*span(samples.shape[1]))], rate, True)
    stat = path.stat()
    total, rate = _length(path, stat.st_size, stat.st_mtime_ns)
    first, last = span(total)
    count = min(math.ceil(seconds * rate), last - first)
    start = _start((first, last), count, position)
    samples, _ = _decoded(path, start, count)
    if samples.shape[1] < count:                                      # it ends early, or a seek went astray
        samples, _ = _decoded(path)
        first, last = span(samples.shape[1])
        start = min(start, max(last - count, first))
        samples = samples[:, start : min(start + count, last)]
    return Excerpt(samples, rate, last - first <= count)


@lru_cache(maxsize=1_000_000)
def _length(path: Path, size: int, changed: int) -> tuple[int, int]:
    """(samples, Hz) of a file of that size and time by its packets: what headers say is often a guess, or missing."""
    with av.open(str(path.absolute())) as container:
        stream = _sound(container)
        packets = [(p.pts, p.pts + (p.duration or 0)) for p in container.demux(stream) if p.size and p.pts is not None]
        if not packets:
            raise ValueError("it holds no samples")
        ticks = max(packets, key=itemgetter(1))[1] - packets[0][0]
        return int(ticks * _tick(stream) * stream.rate), stream.rate


def _decoded(path: Path, start: int = 0, count: int | None = None) -> tuple[np.ndarray, int]:
    """``(C, L)`` of at most ``count`` samples from number ``start`` on, and Hz."""
    with av.open(str(path.absolute())) as container:
        stream = _sound(container)
        rate, tick = stream.rate, _tick(stream)
        origin = (stream.start_time or 0) * tick
        if start > PREROLL * rate:
            container.seek(int((start / rate - PREROLL + origin) / tick), stream=stream)
        planar = av.AudioResampler(format="fltp")
        pieces: list[np.ndarray] = []
        first: int | None = None
        length = 0
        for frame in _frames(container, stream):
            if first is None:
                first = round((frame.time - origin) * rate) if frame.time is not None else 0
            parts = [part.to_ndarray() for part in planar.resample(frame)]
            pieces += parts
            length += sum(part.shape[1] for part in parts)
            if count is not None and first + length >= start + count:
                break
        if not pieces:
            raise ValueError("it holds no samples")
        samples = np.concatenate(pieces, 1)[:, max(start - (first or 0), 0) :]
        return samples[:, :count], rate


def _frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    """All frames; where recordings were joined as they are, the second begins with a tag, which is no sound."""
    for packet in container.demux(stream):
        try:
            yield from stream.decode(packet)
        except av.InvalidDataError:
            if not bytes(packet).startswith(TAGS):
                raise


def _tick(stream: av.AudioStream) -> Fraction:
    """Seconds of one unit of a stream's times."""
    if stream.time_base is None:
        raise ValueError("it has no clock")
    return stream.time_base


def _sound(container: av.container.InputContainer) -> av.AudioStream:
    if not container.streams.audio:
        raise ValueError("it has no audio stream")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise ValueError("its audio codec is unknown")
    _checked(stream.rate)
    return stream
