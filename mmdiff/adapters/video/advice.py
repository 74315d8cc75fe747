"""A recipe for films that nobody has seen: what the files tell, and the settings that ``docs/video.md`` measured.

    fps     the files' rate over a whole number, at most 12: a clip of 8 frames then lasts long enough for motion
    size    the files' shape, about SIDE^2 pixels, a multiple of the patch, no larger than the files
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

from ...data.reader import Advice
from .index import VideoIndex

FRAMES, FASTEST = 8, 12.0
SIDE, SMALL_SIDE, PATCH = 32, 16, 4
FEW = 32
"""Files below which a step takes 8 of them."""


def recipe(paths: Sequence[Path], *, count: int, small: bool) -> list[Advice]:
    """What to train on films like ``paths`` with; none where no file can be read."""
    found = []
    for path in paths:
        try:
            found.append(VideoIndex.of(path))
        except (ValueError, OSError):                                 # it is skipped, and named, by the run
            continue
    films = [index for index in found if index.rate and index.seconds]
    if not films:
        return []
    rate = statistics.median(index.rate or 0.0 for index in films)
    seconds = sorted(index.seconds for index in films)[len(films) // 10]
    fps = rate / max(1, round(rate / FASTEST + 0.49))
    while fps * seconds < FRAMES + 1 and fps < rate:                  # short files: as many frames as they have
        fps = min(rate, 2 * fps)
    frames = max(1, min(FRAMES, int(fps * seconds)))
    height, width = (statistics.median(side) for side in zip(*(index.shown for index in films), strict=True))
    high, wide = _size(height, width, SMALL_SIDE if small else SIDE)
    why = "of things that move far in few frames: what is where is decided in strong noise"
    return [
        Advice("adapter.codec.fps", f"{fps:.4g}", f"files have {rate:.4g} frames/s (median): {frames} frames are then "
               f"{frames / fps:.2g} s of the {seconds:.3g} s that a short file lasts"),
        Advice("adapter.reader.frames", str(frames), "what a small network learns in minutes to an hour"),
        Advice("adapter.reader.height", str(high), f"files are {width:.0f} x {height:.0f} pixels (width x height)"),
        Advice("adapter.reader.width", str(wide), f"the same shape in {high * wide} pixels; twice the sides cost four "
               "times a step and more"),
        Advice("adapter.network.patch", f"[{frames},{PATCH},{PATCH}]", "a token spans all frames: things keep their "
               f"identity; {high * wide // PATCH**2} tokens a clip"),
        Advice("adapter.network.dim", "128", f"a token holds {3 * frames * PATCH**2} numbers, more than its width"),
        Advice("adapter.network.heads", "4", "32 numbers a head"),
        Advice("diffusion/parameterization", "data", "a token of more numbers than the width keeps noise else"),
        Advice("diffusion.shift", "4.0", why),
        Advice("diffusion.time.std", "1.3", "training spends its steps around the shift"),
        Advice("optim", "muon", "fewer steps to the same loss in transformers"),
        Advice("optim.lr", "5.0e-3", "measured with Muon at this size"),
        Advice("optim.rest.lr", "2.0e-3", "of all that is no matrix of a block"),
        Advice("loader.batch_size", str(32 if count >= FEW else 8), f"{count} files"),
    ]


def _size(height: float, width: float, side: int) -> tuple[int, int]:
    """(height, width) of about ``side``^2 pixels and the shape of a film, in whole patches."""
    scale = min(1.0, side / (height * width) ** 0.5)
    high, wide = (max(PATCH, round(length * scale / PATCH) * PATCH) for length in (height, width))
    return high, wide
