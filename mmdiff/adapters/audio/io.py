"""Sound files to mono waveforms and back.

    read    decode -> mean of channels -> resample -> crop or pad -> optional peak
    length  ceil(L rate' / rate) samples after resampling L samples from rate to rate'

Files are opened by ``decode``.
"""

import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import av
import numpy as np
import soundfile
import torch
import torchaudio.functional as AF
from torch import Tensor

from ...data.reader import Advice
from ..base import Reader
from .advice import recipe
from .decode import RATES, Excerpt, decode, duration

SUFFIXES = (
    ".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".au", ".caf", ".w64", ".wma",
    ".mka", ".ac3", ".amr", ".mp2",
)
MOST_TAPS = 30_000_000
"""Size of the resampling filter, the product of both rates without their common factor: above this it is a burden."""
SILENT_DRAWS = 8
"""Random crops that may be silent before one is taken where the file sounds."""
CANCELLED = 1e-4
"""Energy of the mean of channels against theirs: below, they are each other's opposite."""


APART = 0.01
"""Seconds by which a file may be longer or shorter than the sample which it is beside."""


class CropPlace(NamedTuple):
    """What is read of a file: a ``position`` in [0, 1) as ``decode`` takes it, or all from ``first`` seconds on."""

    position: float = 0.0
    first: float = 0.0


class AudioReader(Reader):
    """Files to waveforms ``(channels, L)`` float32 at ``sample_rate`` Hz; a file of another number of channels gives
    their mean, in all of them.

    ``seconds`` is the length of a clip: longer files are cropped (at random with an ``rng``, else from the start),
    shorter ones are followed by silence with ``pad="silence"`` or left short with ``pad="mask"`` for the batch to pad
    and mask. None reads whole files. ``peak`` scales each clip to that largest absolute value. A crop that is digital
    silence is drawn again, and at last taken where the file begins to sound; a file that is silent from end to end,
    or whose channels cancel each other, is refused.
    """

    suffixes = SUFFIXES
    timed = True

    def __init__(
        self, sample_rate: int, *, channels: int = 1, seconds: float | None = None,
        pad: Literal["silence", "mask"] = "mask", peak: float | None = None,
    ):
        if not RATES[0] <= sample_rate <= RATES[1]:
            raise ValueError(f"sample_rate is in Hz, between {RATES[0]} and {RATES[1]}; got {sample_rate}")
        if seconds is not None and not 0 < seconds < math.inf:
            raise ValueError(f"seconds must be positive, or null for whole files; got {seconds}")
        if pad not in ("silence", "mask"):
            raise ValueError(f"pad is 'silence' or 'mask', got {pad!r}")
        if peak is not None and not 0 < peak <= 1:
            raise ValueError(f"peak must be in (0, 1], or null to leave levels alone; got {peak}")
        if channels not in (1, 2):
            raise ValueError(f"channels is 1 or 2, got {channels}")
        self.sample_rate, self.seconds, self.pad, self.peak = sample_rate, seconds, pad, peak
        self.channels = channels

    def read(self, path: Path, rng: np.random.Generator | None = None) -> Tensor:
        """One clip ``(channels, L)``. Raises ``ValueError`` for a file that is corrupt, empty, silent or holds NaN."""
        clip, _ = self._sounding(Path(path), rng)
        if self.part != Reader.part and self.seconds and clip.samples.shape[1] < self.seconds * clip.sample_rate - 1:
            raise ValueError(f"{path} has {clip.samples.shape[1] / clip.sample_rate:.3g} s in the part that is read, "
                             f"less than the {self.seconds:g} s of a clip")
        x = self._sample(path, clip)
        return x * self._gain(x)

    def misfit(self, path: Path, other: Path) -> str | None:
        found, wanted = duration(other), duration(path)
        return f"has {found:.3f} s, and its sample {wanted:.3f} s" if abs(found - wanted) > APART else None

    def beside(self, path: Path, other: Path, rng: np.random.Generator | None = None) -> Tensor:
        """As long as ``path`` gives, as much louder as that is made, and silent where it is silent."""
        clip, place = self._sounding(Path(path), rng)
        whole = decode(other, seconds=None if place.first else self.seconds, position=place.position, span=self.span)
        if not np.isfinite(whole.samples).all():
            raise ValueError(f"{other} holds NaN or infinite samples")
        first = round(place.first * whole.sample_rate)
        size = None if self.seconds is None else first + math.ceil(self.seconds * whole.sample_rate)
        sample = self._sample(path, clip)
        x = self._sample(other, whole._replace(samples=whole.samples[:, first:size]))[:, : sample.shape[1]]
        return torch.nn.functional.pad(x, (0, sample.shape[1] - x.shape[1])) * self._gain(sample)

    def _gain(self, sample: Tensor) -> Tensor:
        """What brings a sample to ``peak``."""
        return torch.ones(()) if self.peak is None or not sample.any() else self.peak / sample.abs().max()

    def _sample(self, path: Path, clip: Excerpt) -> Tensor:
        """What is decoded ``(C, L)`` as a sample, before it is brought to a peak."""
        x = torch.from_numpy(np.ascontiguousarray(_laid(clip, self.channels)))
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
        return x.contiguous()

    def advice(self, paths: Sequence[Path], *, count: int, small: bool) -> list[Advice]:
        return recipe(paths, count=count, small=small)

    def clips(self, path: Path) -> int:
        first, last = self.span(round(duration(path) * 1000))
        return 1 if self.seconds is None else max(1, int((last - first) / (1000 * self.seconds)))

    def _sounding(self, path: Path, rng: np.random.Generator | None) -> tuple[Excerpt, CropPlace]:
        for _ in range(1 if rng is None else SILENT_DRAWS):
            place = CropPlace(position=0.0 if rng is None else rng.random())
            clip = decode(path, seconds=self.seconds, position=place.position, span=self.span)
            if not _silent(path, clip, self.channels):
                return clip, place
            if clip.complete:
                break
        clip = clip if clip.complete else decode(path, span=self.span)
        if _silent(path, clip, self.channels):
            reason = "its channels cancel each other (one is inverted)" if clip.samples.any() else "all are 0"
            raise ValueError(f"{path} is silent: of {clip.samples.shape[1]} samples, {reason}")
        size = clip.samples.shape[1] if self.seconds is None else math.ceil(self.seconds * clip.sample_rate)
        first = min(int(np.flatnonzero(_laid(clip, self.channels).any(0))[0]), max(clip.samples.shape[1] - size, 0))
        return clip._replace(samples=clip.samples[:, first : first + size]), CropPlace(first=first / clip.sample_rate)


def _laid(clip: Excerpt, channels: int) -> np.ndarray:
    """The samples of so many channels."""
    if len(clip.samples) == channels:
        return clip.samples
    return clip.samples.mean(0, keepdims=True).repeat(channels, 0)


def _silent(path: Path, clip: Excerpt, channels: int) -> bool:
    """Whether nothing, or next to nothing of its channels, is left of them."""
    if not np.isfinite(clip.samples).all():
        raise ValueError(f"{path} holds NaN or infinite samples")
    kept, total = (np.square(x, dtype=np.float64).mean() for x in (_laid(clip, channels), clip.samples))
    return kept <= CANCELLED * total


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
WRITTEN = (*FORMATS, ".m4a")


def _encode(x: np.ndarray, path: Path, suffix: str, sample_rate: int, bit_rate: int) -> None:
    if suffix in FORMATS:
        kind, subtype = FORMATS[suffix]
        try:
            soundfile.write(path, x.T, sample_rate, format=kind, subtype=subtype)
        except soundfile.SoundFileError as error:
            raise ValueError(f"cannot write {suffix} at {sample_rate} Hz to {path.parent}: {error}") from None
        if kind == "OGG":
            path.write_bytes(_fixed_serial(path.read_bytes()))
    elif suffix == ".m4a":
        with av.open(str(path.absolute()), "w", format="ipod") as container:
            layout = {1: "mono", 2: "stereo"}.get(len(x), f"{len(x)}c")
            stream = container.add_stream("aac", rate=sample_rate, layout=layout, bit_rate=bit_rate)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(x), format="fltp", layout=layout)
            frame.sample_rate = sample_rate
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    else:
        raise ValueError(f"cannot write {suffix!r}; there are {' '.join(WRITTEN)}")


REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _fixed_serial(ogg: bytes) -> bytes:
    """An Ogg stream with the serial number 0 in place of a random one, so that equal sounds give equal files.

    Each page has a CRC with the polynomial of ``zlib.crc32``, but of bits the other way round (RFC 3533, 6).
    """
    pages, at = [], 0
    while at < len(ogg):
        segments = ogg[at + 27 : at + 27 + ogg[at + 26]]
        end = at + 27 + len(segments) + sum(segments)
        page = ogg[at : at + 14] + bytes(4) + ogg[at + 18 : at + 22] + bytes(4) + ogg[at + 26 : end]
        crc = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
        pages.append(page[:22] + crc.to_bytes(4, "big").translate(REVERSED) + page[26:])
        at = end
    return b"".join(pages)
