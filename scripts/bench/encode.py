"""What a cache of latents saves: training samples a second from a folder of files and from latents, for each adapter.

    python scripts/bench/encode.py

"Data" reads, batches and encodes; "training" does an optimizer step of the adapter's preset too. One thread, no worker
processes, files in the page cache; rates are per second of the process's CPU time, so that other work on the machine
counts little. Folder and latents take turns; medians of the rounds are shown. In brackets: items encoded a second.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import trimesh

from mmdiff.adapters.audio.io import AudioReader, write_audio
from mmdiff.adapters.audio.notes import Notes
from mmdiff.adapters.points.solids import SOLIDS, solid
from mmdiff.adapters.video.shapes import Shapes
from mmdiff.adapters.video.write import write_video
from mmdiff.cache.encode import encode
from mmdiff.config.adapter import build_codec, build_learner
from mmdiff.config.build import build
from mmdiff.config.overrides import composed
from mmdiff.core.rng import Purpose, stream
from mmdiff.data.batch import Batch
from mmdiff.data.dataset import Dataset
from mmdiff.data.loaders import Loading, samples, train_loader
from mmdiff.metrics.rows import markdown

BATCH = 16


def sounds(root: Path, count: int) -> str:
    """Notes, of which training takes 1 s at 8 kHz."""
    data = Notes(AudioReader(44100, seconds=3), n=count)
    for i in range(count):
        write_audio(data.read(i)[0], root / f"{i}.flac", 44100)
    return "FLAC, 3 s at 44.1 kHz"


def films(root: Path, count: int) -> str:
    """Bouncing shapes, of which training takes 8 frames of 32 x 32 pixels."""
    data = Shapes(n=count, frames=24, size=128)
    for i in range(count):
        write_video(data.read(i)[0], root / f"{i}.mp4", 8)
    return "H.264, 24 frames of 128 x 128"


def meshes(root: Path, count: int) -> str:
    """Solids with every face cut into 64, of which training takes 512 points."""
    for i in range(count):
        shape = solid(SOLIDS[i % len(SOLIDS)], stream(0, i, Purpose.DATA))
        mesh = trimesh.Trimesh(shape.points, shape.faces, process=False)
        mesh.subdivide().subdivide().subdivide().export(root / f"{i}.ply")
    return "PLY meshes"


ADAPTERS: dict[str, Callable[[Path, int], str]] = {"audio": sounds, "video": films, "points": meshes}


class Case:
    """One adapter with one source of data."""

    def __init__(self, adapter: str, data: dict[str, str]):
        config = composed("train", [f"adapter={adapter}", "data.root=x"])
        codec, reader = build_codec(config.adapter)
        self.dataset = build(data, Dataset, reader=reader)
        (codec.measure if self.dataset.encoded else codec.fit)(samples(self.dataset, limit=64))
        self.model = build_learner(config, codec, reader, fields={})
        self.optimizer = torch.optim.AdamW(self.model.trainable.parameters(), lr=1e-4)

    def rates(self, steps: int) -> tuple[float, float]:
        """Samples per CPU second: of the data alone, and of training."""
        found = []
        for work in (self._latents, self._step):
            order = Loading(batch_size=BATCH).order(self.dataset, seed=0, steps=steps)
            start = time.process_time()
            for batch in train_loader(self.dataset, order):
                work(batch)
            found.append(steps * BATCH / (time.process_time() - start))
        return tuple(found)

    def _latents(self, batch: Batch) -> None:
        codec = self.model.codec
        (codec.whiten if batch.encoded else codec.encode)(batch.samples)

    def _step(self, batch: Batch) -> None:
        self.optimizer.zero_grad()
        self.model.loss(batch, 0).mean().backward()
        self.optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapters", nargs="*", default=list(ADAPTERS))
    parser.add_argument("--count", type=int, default=64, help="files")
    parser.add_argument("--steps", type=int, default=4, help=f"of {BATCH} samples, a round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for adapter in args.adapters:
        with tempfile.TemporaryDirectory() as folder:
            root, out = Path(folder, "files"), Path(folder, "latents")
            root.mkdir()
            source = ADAPTERS[adapter](root, args.count)
            files = {"_target_": "mmdiff.data.folders.FolderDataset", "root": str(root), "labels": []}
            config = composed("encode", [f"adapter={adapter}", f"data.root={root}"])
            start = time.process_time()
            encode(config, str(out), progress=False)
            encoding = args.count / (time.process_time() - start)
            cases = {
                "folder": Case(adapter, files),
                "latents": Case(adapter, {"_target_": "mmdiff.cache.latents.Latents", "root": str(out)}),
            }
            rates = {name: [] for name in cases}
            for _ in range(args.rounds):
                for name, case in cases.items():
                    rates[name].append(case.rates(args.steps))
        for name, values in rates.items():
            data, training = (statistics.median(column) for column in zip(*values, strict=True))
            rows.append({
                "adapter": adapter, "from": f"folder: {source}" if name == "folder" else f"latents ({encoding:.0f}/s)",
                "data, samples/s": round(data), "training, samples/s": round(training, 1),
            })
    print(markdown(rows))


if __name__ == "__main__":
    main()
