"""A recipe for sounds that nobody has heard: the band and the length that the files have.

    mel       the settings of the highest rate that the files reach, at most 22 kHz; 8 kHz where time is short
    seconds   what nine files in ten fit into, at most LONGEST
"""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import soundfile

from ...data.reader import Advice
from .decode import decode, duration

MELS = {8000: "speech_8k_48", 16000: "audioldm_16k", 22050: "hifigan_22k"}
"""Settings that Griffin-Lim inverts, by rate."""
LONGEST, LONGEST_SMALL = 4.0, 1.0
FEW = 300
"""Files below which a step takes 16 of them."""


def recipe(paths: Sequence[Path], *, count: int, small: bool) -> list[Advice]:
    """What to train on sounds like ``paths`` with; none where no file can be read."""
    rates, lengths = [], []
    for path in paths:
        try:
            lengths.append(duration(path))
            rates.append(_rate(path))
        except (ValueError, OSError):                                 # it is skipped, and named, by the run
            continue
    if not rates:
        return []
    rate = statistics.median(rates)
    kept = 8000 if small else max((r for r in MELS if r <= rate), default=8000)
    most = sorted(lengths)[min(len(lengths) - 1, round(0.9 * len(lengths)))]
    seconds = min(LONGEST_SMALL if small else LONGEST, math.ceil(4 * most) / 4)
    cut = "all that were looked at fit" if max(lengths) <= seconds else (
        f"longer files are cropped; the longest is {max(lengths):.3g} s")
    return [
        Advice("adapter.codec.mel", MELS[kept], f"files have {rate:g} Hz; this keeps what is below "
               f"{min(kept / 2, 8000):g} Hz"),
        Advice("adapter.reader.seconds", f"{seconds:g}", cut),
        Advice("adapter.reader.pad", "mask" if min(lengths) < 0.9 * seconds else "silence",
               f"the shortest file is {min(lengths):.3g} s" + (
                   ": files keep their lengths" if min(lengths) < 0.9 * seconds else "")),
        Advice("loader.batch_size", str(64 if count >= FEW else 16), f"{count} files"),
    ]


def _rate(path: Path) -> int:
    """Samples per second of a file, from its header where that tells."""
    try:
        return int(soundfile.info(path).samplerate)
    except soundfile.SoundFileError:
        return decode(path, seconds=0.1).sample_rate
