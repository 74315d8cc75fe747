"""Clips to files that people can play.

    .mp4   H.264, yuv420p (lossless: RGB), sound as AAC, header first        .webm  VP9, sound as Opus
    .mkv   FFV1, always lossless, sound as AAC    .gif  256 colours of its own    .png   lossless, animated (APNG)

A fourth channel, how opaque a pixel is, is kept in .mkv and .png; elsewhere there is what shows over the background.
Chroma is stored at half the resolution but where lossless: measure on tensors or lossless files. Sizes that a format
needs even are padded by repeating the edge.
"""

import math
import os
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace
from torch import Tensor

from .alpha import colour, lifted

Sound = tuple[Tensor, int]
"""Samples ``(channels, L)`` in [-1, 1] and their rate in Hz."""
SUFFIXES = (".mp4", ".webm", ".mkv", ".gif", ".png")
AUDIO = {".mp4": ("aac", "fltp"), ".mkv": ("aac", "fltp"), ".webm": ("libopus", "flt")}
AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
OPUS_RATE = 48_000


def write_video(
    sample: Tensor, path: str | Path, fps: float, *, sound: Sound | None = None, lossless: bool = False,
    upscale: int = 1, background: str = "black", crf: int = 18,
) -> Path:
    """Write ``(C, T, H, W)``, limited to [-1, 1], at ``fps`` frames per second; the ending picks the format.

    ``sound`` is cut, or followed by silence, to the length of the pictures. ``upscale`` repeats pixels, for clips too
    small to look at. ``background`` is the colour that 4 channels are shown over. ``crf`` is that of
    an .mp4: less is better. The file appears under its name only when complete. Raises ``ValueError`` for NaN, a sound
    that the format cannot hold, or an unknown ending.
    """
    path, suffix = Path(path), Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"cannot write {suffix!r}; there are {' '.join(SUFFIXES)}")
    if sound is not None and suffix not in AUDIO:
        raise ValueError(f"{suffix} holds no sound: write {' or '.join(AUDIO)}")
    if sample.ndim != 4 or sample.shape[0] not in (1, 3, 4) or not sample.numel():
        raise ValueError(f"a clip to write is (1, 3 or 4, T, H, W), got {tuple(sample.shape)}")
    if not torch.isfinite(sample).all():
        raise ValueError(f"{path} is not written: the clip holds NaN or infinite values")
    if upscale < 1 or not fps > 0:
        raise ValueError(f"need upscale >= 1 and fps > 0, got {upscale} and {fps}")
    clear = suffix in (".png", ".mkv") and len(sample) == 4
    frames = (with_alpha(sample, background) if clear else pixels(sample)).repeat(upscale, 1).repeat(upscale, 2)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.writing{path.suffix}")
    try:
        if suffix == ".png":
            _png(frames, partial, fps)
        elif suffix == ".gif":
            _gif(frames, partial, fps)
        else:
            _film(frames, partial, fps, suffix, sound, lossless, crf)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def frames_to_folder(sample: Tensor, folder: str | Path, *, background: str = "black") -> list[Path]:
    """Write the frames of ``(C, T, H, W)`` as ``000000.png``, ``000001.png`` ...: a folder that is read as one clip."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:06d}.png" for i in range(sample.shape[1])]
    frames = with_alpha(sample, background) if len(sample) == 4 else pixels(sample)
    for frame, path in zip(frames, paths, strict=True):
        _png(frame[None], path, 1)
    return paths


def pixels(sample: Tensor) -> np.ndarray:
    """``(C, T, H, W)`` in [-1, 1] -> ``(T, H, W, 3)`` uint8, of 4 channels what is shown."""
    return _bytes(sample[:3]).expand(-1, -1, -1, 3).contiguous().numpy()


def with_alpha(sample: Tensor, background: str) -> np.ndarray:
    """``(4, T, H, W)`` in [-1, 1], shown over a background -> ``(T, H, W, 4)`` uint8 without it."""
    return lifted(_bytes(sample).numpy(), colour(background))


def _bytes(sample: Tensor) -> Tensor:
    x = ((sample.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return x.permute(1, 2, 3, 0)


def _film(
    frames: np.ndarray, path: Path, fps: float, suffix: str, sound: Sound | None, lossless: bool, crf: int
) -> None:
    codec, form, options = _codec(suffix, lossless, crf)
    form = "bgra" if frames.shape[-1] == 4 else form
    if form == "yuv420p":
        frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    rate = Fraction(fps).limit_denominator(1001)
    container_options = {"fflags": "+bitexact"}                       # no random numbers: equal clips give equal files
    container_options |= {"movflags": "+faststart"} if suffix == ".mp4" else {}
    with av.open(str(path.absolute()), "w", options=container_options) as container:
        stream = _pictures(container.add_stream(codec, rate=rate, options=options))
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], form
        stream.codec_context.time_base = 1 / rate
        if form == "yuv420p":                                         # else players guess by the size of the picture
            stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.ITU601, ColorRange.MPEG
        voice = None if sound is None else _voice(container, suffix, sound)
        chunks = deque(() if sound is None else _chunks(sound, len(frames) / float(rate), suffix))
        for i, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format=_form(array))
            frame.pts, frame.time_base = i, 1 / rate
            container.mux(stream.encode(frame))
            while voice is not None and chunks and (_time(chunks[0]) <= i / rate or i == len(frames) - 1):
                container.mux(voice.encode(chunks.popleft()))         # side by side, as players read
        container.mux(stream.encode(None))
        if voice is not None:
            container.mux(voice.encode(None))


def _pictures(stream: object) -> av.VideoStream:
    if not isinstance(stream, av.VideoStream):
        raise TypeError(f"expected a stream of pictures, got {stream}")
    return stream


def _time(frame: av.AudioFrame) -> float:
    return 0.0 if frame.time is None else frame.time


def _codec(suffix: str, lossless: bool, crf: int) -> tuple[str, str, dict[str, str]]:
    """Encoder, pixel format and options."""
    if suffix == ".mkv":
        return "ffv1", "bgr0", {}
    if suffix == ".webm":
        speed = {"cpu-used": "4", "row-mt": "1"}
        quality = {"lossless": "1"} if lossless else {"crf": "24", "b": "0"}
        return "libvpx-vp9", "gbrp" if lossless else "yuv420p", {**speed, **quality}
    if lossless:
        return "libx264rgb", "rgb24", {"crf": "0", "preset": "medium"}
    return "libx264", "yuv420p", {"crf": str(crf), "preset": "medium"}


def _voice(container: av.container.OutputContainer, suffix: str, sound: Sound) -> av.AudioStream:
    samples, rate = sound
    if samples.ndim != 2 or len(samples) not in (1, 2) or not torch.isfinite(samples).all():
        raise ValueError(f"a sound is finite samples (1 or 2, L), got {tuple(samples.shape)}")
    layout = "mono" if len(samples) == 1 else "stereo"
    stream = container.add_stream(AUDIO[suffix][0], rate=_rate(suffix, rate), layout=layout, bit_rate=128_000)
    if not isinstance(stream, av.AudioStream):
        raise TypeError(f"expected a stream of sound, got {stream}")
    return stream


def _rate(suffix: str, rate: int) -> int:
    """Hz that the sound is stored with."""
    return rate if suffix != ".webm" and rate in AAC_RATES else OPUS_RATE


def _chunks(sound: Sound, seconds: float, suffix: str) -> Iterator[av.AudioFrame]:
    """The sound at the length of the pictures, in frames that the encoder takes."""
    samples, rate = sound
    length = math.ceil(seconds * rate)
    x = torch.zeros(len(samples), length)
    x[:, : samples.shape[1]] = samples[:, :length].float().cpu().clamp(-1, 1)
    layout = "mono" if len(x) == 1 else "stereo"
    convert = av.AudioResampler(
        format=AUDIO[suffix][1], layout=layout, rate=_rate(suffix, rate), frame_size=1024
    )
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(x.numpy()), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    yield from convert.resample(frame)
    yield from convert.resample(None)


def _gif(frames: np.ndarray, path: Path, fps: float) -> None:
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path.absolute()), "w", options={"loop": "0"}) as container:
        stream = container.add_stream("gif", rate=rate)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "pal8"
        stream.codec_context.time_base = 1 / rate
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frames.shape[2], height=frames.shape[1], format=av.VideoFormat("rgb24"), time_base=1 / rate
        )
        parts = graph.add("split"), graph.add("palettegen", "stats_mode=full"), graph.add("paletteuse", "dither=none")
        sink = graph.add("buffersink")
        source.link_to(parts[0])
        parts[0].link_to(parts[1], 0, 0)
        parts[0].link_to(parts[2], 1, 0)
        parts[1].link_to(parts[2], 0, 1)
        parts[2].link_to(sink)
        graph.configure()
        for i, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = i, 1 / rate
            graph.push(frame)
        graph.push(None)
        for i in range(len(frames)):
            mapped = graph.vpull()
            mapped.pts, mapped.time_base = i, 1 / rate
            container.mux(stream.encode(mapped))
        container.mux(stream.encode(None))


def _png(frames: np.ndarray, path: Path, fps: float) -> None:
    """One picture, or several one after another, which every browser plays (APNG)."""
    rate, animated = Fraction(fps).limit_denominator(1001), len(frames) > 1
    form, options = ("apng", {"plays": "0"}) if animated else ("image2", {"update": "1"})
    with av.open(str(path.absolute()), "w", format=form, options=options) as container:
        stream = _pictures(container.add_stream("apng" if animated else "png", rate=rate))
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], _form(frames)
        stream.codec_context.time_base = 1 / rate
        for i, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format=_form(frames))
            frame.pts, frame.time_base = i, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _form(pixels: np.ndarray) -> str:
    return "rgba" if pixels.shape[-1] == 4 else "rgb24"
