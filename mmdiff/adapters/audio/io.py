"""Sound files to mono waveforms and back.

    read    decode -> mean of channels -> resample -> crop or pad -> optional peak
    length  ceil(L rate' / rate) samples after resampling L samples from rate to rate'

libsndfile opens what it knows and FFmpeg the rest; both seek to the part that is needed.
"""

import math
import os
from pathlib import Path
from typing import Literal, NamedTuple

import av
import numpy as np
import soundfile
import torch
import torchaudio.functional as AF
from torch import Tensor

from ..base import Reader

SUFFIXES = (
    ".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".au", ".caf", ".w64", ".wma",
    ".mka", ".ac3", ".amr", ".mp2",
)
RATES = (1000, 768_000)
MOST_TAPS = 30_000_000
"""Size of the resampling filter, the product of both rates without their common factor: above this it is a burden."""
PREROLL = 1.0
"""Seconds decoded and thrown away after a seek: a compressed frame leans on those before it (MP3: half a second)."""


class Clip(NamedTuple):
    """Decoded samples ``(C, L)`` float32 at ``sample_rate`` Hz; ``whole`` if that is all of the file."""

    samples: np.ndarray
    sample_rate: int
    whole: bool


class AudioReader(Reader):
    """Files to waveforms ``(1, L)`` float32 at ``sample_rate`` Hz.

    ``seconds`` is the length of a clip: longer files are cropped (at random with an ``rng``, else from the start),
    shorter ones are followed by silence with ``pad="silence"`` or left short with ``pad="mask"`` for the batch to pad
    and mask. None reads whole files. ``peak`` scales each clip to that largest absolute value; silence stays silence.
    A file that is digital silence from end to end is refused, as it says nothing.
    """

    suffixes = SUFFIXES

    def __init__(
        self, sample_rate: int, *, seconds: float | None = None, pad: Literal["silence", "mask"] = "mask",
        peak: float | None = None,
    ):
        if not RATES[0] <= sample_rate <= RATES[1]:
            raise ValueError(f"sample_rate is in Hz, between {RATES[0]} and {RATES[1]}; got {sample_rate}")
        if seconds is not None and not 0 < seconds < math.inf:
            raise ValueError(f"seconds must be positive, or null for whole files; got {seconds}")
        if pad not in ("silence", "mask"):
            raise ValueError(f"pad is 'silence' or 'mask', got {pad!r}")
        if peak is not None and not 0 < peak <= 1:
            raise ValueError(f"peak must be in (0, 1], or null to leave levels alone; got {peak}")
        self.sample_rate, self.seconds, self.pad, self.peak = sample_rate, seconds, pad, peak

    def read(self, path: Path, rng: np.random.Generator | None = None) -> Tensor:
        """One clip ``(1, L)``. Raises ``ValueError`` for a file that is corrupt, empty, silent or holds NaN."""
        clip = decode(Path(path), seconds=self.seconds, rng=rng)
        if not np.isfinite(clip.samples).all():
            raise ValueError(f"{path} holds NaN or infinite samples")
        x = torch.from_numpy(clip.samples).mean(0, keepdim=True)
        if clip.whole and not x.any():
            raise ValueError(f"{path} is silent: all {x.shape[-1]} samples are 0")
        if clip.sample_rate * self.sample_rate > MOST_TAPS * math.gcd(clip.sample_rate, self.sample_rate) ** 2:
            raise ValueError(
                f"{path} has {clip.sample_rate} Hz, which is in no simple ratio to {self.sample_rate} Hz: resample it "
                "to a usual rate first"
            )
        x = AF.resample(x, clip.sample_rate, self.sample_rate)
        if self.seconds is not None:
            size = round(self.seconds * self.sample_rate)
            x = x[:, :size]
            if self.pad == "silence":
                x = torch.nn.functional.pad(x, (0, size - x.shape[-1]))
        if self.peak is not None and x.any():
            x = x * (self.peak / x.abs().max())
        return x.contiguous()


def decode(path: Path, *, seconds: float | None = None, rng: np.random.Generator | None = None) -> Clip:
    """A file, or ``seconds`` of it from a random start (0 without ``rng``). Raises ``ValueError`` with a reason."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist or is no file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes)")
    decoders = [_soundfile, _ffmpeg]
    if path.suffix.lower() in (".mp3", ".mp2"):
        decoders.reverse()                                            # libmpg123 stumbles, aloud, after a seek
    reasons = []
    for decoder in decoders:
        try:
            clip = decoder(path, seconds, rng)
            break
        except (soundfile.SoundFileError, av.FFmpegError, ValueError, MemoryError) as error:
            reasons.append(error)
    else:
        own = [str(e) for e in reasons if isinstance(e, ValueError) and not isinstance(e, av.FFmpegError)]
        reason = own[0] if own else "neither libsndfile nor FFmpeg can open it"
        raise ValueError(f"{path} cannot be read as sound: {reason}")
    if clip.samples.size == 0:
        raise ValueError(f"{path} holds no samples")
    return clip


def _start(total: int, count: int, rng: np.random.Generator | None) -> int:
    return 0 if rng is None or total <= count else int(rng.integers(total - count + 1))


def _soundfile(path: Path, seconds: float | None, rng: np.random.Generator | None) -> Clip:
    with soundfile.SoundFile(path) as file:
        rate = _checked(file.samplerate)
        count = file.frames if seconds is None else min(file.frames, math.ceil(seconds * rate))
        file.seek(_start(file.frames, count, rng))
        samples = file.read(count, dtype="float32", always_2d=True)
        if len(samples) < count:
            raise ValueError(f"ends after {len(samples)} of {count} samples")
        return Clip(np.ascontiguousarray(samples.T), rate, count == file.frames)


def _checked(rate: int) -> int:
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"its sample rate of {rate} Hz is not within {RATES[0]} to {RATES[1]} Hz")
    return rate


def _ffmpeg(path: Path, seconds: float | None, rng: np.random.Generator | None) -> Clip:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            raise ValueError("it has no audio stream")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise ValueError("its audio codec is unknown")
        rate = _checked(stream.rate)
        count = None if seconds is None else math.ceil(seconds * rate)
        total = int(stream.duration * stream.time_base * rate) if stream.duration else 0
        start = 0 if count is None else _start(total, count, rng)
        origin = (stream.start_time or 0) * stream.time_base
        if start > PREROLL * rate:
            container.seek(int((start / rate - PREROLL + origin) / stream.time_base), stream=stream)
        planar = av.AudioResampler(format="fltp")
        pieces, first = [], None
        for frame in container.decode(stream):
            if first is None:
                first = round((frame.time - origin) * rate) if frame.pts is not None else 0
            pieces += [part.to_ndarray() for part in planar.resample(frame)]
            if count is not None and first + sum(p.shape[1] for p in pieces) >= start + count:
                break
        if not pieces:
            raise ValueError("it holds no samples")
        samples = np.concatenate(pieces, 1)[:, max(start - first, 0) :]
        return Clip(samples[:, :count], rate, count is None or total <= count)


def write_audio(sample: Tensor, path: str | Path, sample_rate: int, *, bit_rate: int = 128_000) -> int:
    """Write ``(C, L)`` and give how many samples were limited to [-1, 1].

    The ending picks the format: .wav and .flac with 16 bits, .ogg, .opus, .mp3 and .m4a (AAC, ``bit_rate`` in bit/s).
    The file appears under its name only when it is complete. Raises ``ValueError`` for NaN or an unknown ending.
    """
    path = Path(path)
    x = sample.detach().float().cpu().numpy()
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"a sample to write is (channels, length), length at least 1; got {tuple(x.shape)}")
    if not np.isfinite(x).all():
        raise ValueError(f"{path} is not written: the sample holds NaN or infinite values")
    limited = np.clip(x, -1.0, 1.0)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.writing{path.suffix}")
    try:
        _encode(limited, partial, path.suffix.lower(), sample_rate, bit_rate)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return int((np.abs(x) > 1).sum())


FORMATS = {
    ".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS"), ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}


def _encode(x: np.ndarray, path: Path, suffix: str, sample_rate: int, bit_rate: int) -> None:
    if suffix in FORMATS:
        kind, subtype = FORMATS[suffix]
        try:
            soundfile.write(path, x.T, sample_rate, format=kind, subtype=subtype)
        except soundfile.SoundFileError as error:
            raise ValueError(f"cannot write {suffix} at {sample_rate} Hz to {path.parent}: {error}") from None
    elif suffix == ".m4a":
        with av.open(str(path), "w", format="ipod") as container:
            layout = {1: "mono", 2: "stereo"}.get(len(x), f"{len(x)}c")
            stream = container.add_stream("aac", rate=sample_rate, layout=layout, bit_rate=bit_rate)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(x), format="fltp", layout=layout)
            frame.sample_rate = sample_rate
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    else:
        raise ValueError(f"cannot write {suffix!r}; there are {' '.join([*FORMATS, '.m4a'])}")
