"""What a signature, a record and a row of the log cost: time (CPU) and bytes a file.

    python scripts/bench/signatures.py [--files 50]

Noise is written in every format: a second of sound, a film of 16 frames of 64 x 64, a cloud of 2048 points. Medians of
so many files; times are those of one thread. A row of the log waits for the disk.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from mmdiff.adapters.audio.io import write_audio
from mmdiff.adapters.points.write import write_points
from mmdiff.adapters.video.write import write_video
from mmdiff.metrics.rows import markdown
from mmdiff.provenance import tags
from mmdiff.provenance.audit import chain
from mmdiff.provenance.c2pa import C2pa
from mmdiff.provenance.certificates import new
from mmdiff.provenance.signatures import signature

RECORD = {"id": "0" * 36, "model": "0" * 64, "labels": {"word": "kick"}, "seed": 1, "settings": "x" * 900}
WRITERS: dict[str, Callable[[Path], object]] = {
    **{s: lambda path: write_audio(torch.rand(1, 8000) * 2 - 1, path, 8000) for s in (".wav", ".mp3", ".flac", ".m4a")},
    **{s: lambda path: write_video(torch.rand(3, 16, 64, 64) * 2 - 1, path, 8) for s in (".mp4", ".gif", ".png")},
    **{s: lambda path: write_points(torch.randn(3, 2048), path) for s in (".ply", ".glb")},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        certificate, key, root = new(Path(folder) / "keys", "bench")
        signing, rows = C2pa(certificate, str(key)), []
        signing.check(".wav")
        for suffix, write in WRITERS.items():
            took: dict[str, list[float]] = {"record, ms": [], "sign, ms": [], "check, ms": []}
            grown: dict[str, list[int]] = {"record, bytes": [], "signature, bytes": []}
            for i in range(args.files):
                path = Path(folder) / f"{i}{suffix}"
                write(path)
                before = path.stat().st_size
                _, spent = timed(lambda path=path: tags.write(path, {tags.RECORD: str(RECORD)}))
                with_record = path.stat().st_size
                beside, signed = timed(lambda path=path: signing.sign(path, path.name, RECORD, {}))
                if beside is not None:
                    Path(f"{path}.c2pa").write_bytes(beside)
                found, checked = timed(lambda path=path: signature(path, root))
                if found.state != "trusted":
                    raise SystemExit(f"{path} is {found.state}: {found.reason}")
                for name, value in zip(took, (spent, signed, checked), strict=True):
                    took[name].append(1000 * value)
                grown["record, bytes"].append(with_record - before)
                own = len(beside) if beside else path.stat().st_size - with_record
                grown["signature, bytes"].append(own)
            rows.append({"": suffix, **{name: median(values) for name, values in (took | grown).items()}})
        print(markdown(rows))
        with chain(Path(folder) / "log") as log:
            spent = [timed(lambda: log.row("file", seed=1, payload_sha256="0" * 64), time.perf_counter)[1]
                     for _ in range(args.files)]
        size = log.path.stat().st_size / (args.files + 2)
        print(f"a row of the log: {1000 * median(spent):.2g} ms (wall clock), {size:.0f} bytes")


def timed(act: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> tuple[Any, float]:
    """What comes of it, and the seconds that it took."""
    start = clock()
    return act(), clock() - start


if __name__ == "__main__":
    main()
