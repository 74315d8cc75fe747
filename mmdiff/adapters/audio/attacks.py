"""What happens to sounds on their way: other formats, rates and levels, noise, parts, shifts."""

from functools import partial
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor
from torchaudio.functional import resample

from ..attacks import Attack, changed
from .io import AudioReader

CONTAINERS = {".mp3": ("mp3", "libmp3lame"), ".m4a": ("ipod", "aac"), ".opus": ("ogg", "libopus")}
OPUS_RATE = 48_000


def attacks(sample_rate: int, hop_length: int) -> dict[str, Attack]:
    """By name; ``sample_rate`` in Hz, ``hop_length`` in samples."""
    coded = partial(_coded, sample_rate=sample_rate)
    return {
        "MP3, 64 kbit/s": partial(coded, suffix=".mp3", bit_rate=64_000),
        "MP3, 32 kbit/s": partial(coded, suffix=".mp3", bit_rate=32_000),
        "MP3, 16 kbit/s": partial(coded, suffix=".mp3", bit_rate=16_000),
        "AAC, 48 kbit/s": partial(coded, suffix=".m4a", bit_rate=48_000),
        "AAC, 24 kbit/s": partial(coded, suffix=".m4a", bit_rate=24_000),
        "Opus, 24 kbit/s": partial(coded, suffix=".opus", bit_rate=24_000),
        "at 3/4 of the rate, and back": changed(lambda x: resample(resample(x, 4, 3), 3, 4)[:, : x.shape[1]]),
        "half as loud": changed(lambda x: x / 2),
        "noise, 30 dB below": partial(_noisy, decibels=30),
        "noise, 20 dB below": partial(_noisy, decibels=20),
        "half a hop late": changed(lambda x: torch.nn.functional.pad(x, (hop_length // 2, -(hop_length // 2)))),
        "without the first quarter": changed(lambda x: x[:, x.shape[1] // 4 :]),
        "1 % faster": changed(lambda x: resample(x, 101, 100)),
    }


def _noisy(sample: Tensor, folder: Path, *, decibels: float) -> Tensor:
    noise = torch.randn(sample.shape, generator=torch.Generator().manual_seed(0))
    return sample + 10 ** (-decibels / 20) * sample.square().mean().sqrt() * noise


def _coded(sample: Tensor, folder: Path, *, suffix: str, bit_rate: int, sample_rate: int) -> Tensor:
    """Written at ``bit_rate`` (bit/s), and read as any file."""
    form, codec = CONTAINERS[suffix]
    path, rate = folder / f"coded{suffix}", OPUS_RATE if suffix == ".opus" else sample_rate
    layout = "mono" if len(sample) == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sample.clamp(-1, 1).numpy()), format="fltp", layout=layout)
    frame.sample_rate = sample_rate
    with av.open(str(path.absolute()), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, bit_rate=bit_rate)
        if not isinstance(stream, av.AudioStream):
            raise TypeError(f"expected a stream of sound, got {stream}")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return AudioReader(sample_rate, channels=len(sample)).read(path)
