"""Decoding speed: our reader, plain PyAV and torchcodec (where it loads), on the same files in one run.

    python scripts/bench/decode.py FILE ...

"Sequential" decodes up to 300 frames at full size to RGB; "clips" reads 16 consecutive frames at random places, 64
pixels high. Methods take turns; medians of the rounds are shown. One thread each, but what a library starts itself. Of
torchcodec it is told besides by how much, of 255, its frames differ from ours at full size and scaled.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from mmdiff.adapters.video.decode import frames_at, pixels
from mmdiff.adapters.video.index import VideoIndex
from mmdiff.adapters.video.orientation import Orientation
from mmdiff.adapters.video.reader import VideoReader
from mmdiff.metrics.rows import markdown

MOST, FRAMES, SIDE = 300, 16, 64


def methods(path: Path, cache: str) -> dict[str, tuple[Callable[[], object], Callable[[int], object]]]:
    """(sequential, clip from a frame) of each."""
    index = VideoIndex.of(path)
    count = min(MOST, len(index.pts))
    height, width = index.shown
    small = {"height": SIDE, "width": max(1, round(width * SIDE / height))}
    rate = 1 / float(np.median(np.diff(index.times)))
    cached = VideoReader(fps=rate, frames=FRAMES, cache=cache, **small)
    cached.read(path)

    def plain(start: int = 0, frames: int = count, **size: int) -> list[np.ndarray]:
        with av.open(str(path)) as container:
            stream, got = container.streams.video[0], []
            wanted = int(index.pts[start])
            container.seek(wanted, stream=stream)
            for frame in container.decode(stream):
                if frame.pts >= wanted:
                    got.append(frame.to_ndarray(format="rgb24", **size))
                    if len(got) == frames:
                        break
            return got

    class Start:
        """Stands for a generator, to read the cached clip from a given frame."""

        def __init__(self, start: int):
            self.start = start

        def integers(self, high: int) -> int:
            return min(self.start, high - 1)

    found = {
        "mmdiff": (
            lambda: frames_at(path, index, range(count), height=height, width=width),
            lambda start: frames_at(path, index, range(start, start + FRAMES), **small),
        ),
        "mmdiff, clip cache": (lambda: None, lambda start: cached.read(path, Start(start))),
        "PyAV, to_ndarray": (plain, lambda start: plain(start, FRAMES, **small)),
    }
    if codec := torchcodec(path):
        def scaled(start: int) -> np.ndarray:
            frames = codec().get_frames_in_range(start, start + FRAMES).data.numpy()
            pictures = (av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames)
            return np.stack([pixels(p, Orientation(), channels=3, background=(0, 0, 0), **small) for p in pictures])

        found["torchcodec"] = (lambda: codec().get_frames_in_range(0, count).data.numpy(), scaled)
    return found


def torchcodec(path: Path) -> Callable[[], Any] | None:
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, RuntimeError, OSError):
        return None
    return lambda: VideoDecoder(str(path), num_ffmpeg_threads=1, dimension_order="NHWC")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=int, default=6, help="random clips a round")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        for path in args.files:
            choices, index = methods(path, cache), VideoIndex.of(path)
            rng, times = np.random.default_rng(0), {name: ([], []) for name in choices}
            for _ in range(args.rounds):
                starts = rng.integers(0, len(index.pts) - FRAMES, args.clips)
                for name, (whole, clip) in choices.items():
                    begin = time.perf_counter()
                    whole()
                    middle = time.perf_counter()
                    for start in starts:
                        clip(int(start))
                    times[name][0].append(middle - begin)
                    times[name][1].append((time.perf_counter() - middle) / args.clips)
            apart = [
                np.abs(ours(*at).astype(int) - theirs(*at)).max()
                for ours, theirs, at in zip(choices["mmdiff"], choices.get("torchcodec", ()), ((), (0,)), strict=False)
            ]
            for name, (whole, clip) in times.items():
                count = min(MOST, len(index.pts))
                rows.append({
                    "file": path.name, "reader": name,
                    "sequential, frames/s": "-" if "cache" in name else round(count / statistics.median(whole)),
                    "clip of 16, ms": round(1000 * statistics.median(clip), 2),
                    "apart": " and ".join(map(str, apart)) if name == "torchcodec" else "",
                })
    print(markdown(rows))
    if torchcodec(args.files[0]) is None:
        print("\ntorchcodec does not load here.")


if __name__ == "__main__":
    main()
