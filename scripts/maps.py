"""Is a map followed? How far the map of what is made is from the one that was asked for, for held-out samples of a run.

    python scripts/maps.py RUN [--n 48] [--steps 12]

``error`` is the mean distance of the maps, ``IoU`` (built-in films) that of the shapes. Rows: told the map with the
labels, and alone; told the labels alone; as the first row, against the map of another sample. A run whose file is a
change is asked with its base, which makes what is told no map where the change is a branch.
"""

import argparse
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

import mmdiff
from mmdiff.adapters.video import score_shapes
from mmdiff.adapters.video.shapes import BACKGROUND
from mmdiff.core.guidance import Unguided
from mmdiff.core.samplers import Auto
from mmdiff.core.types import Masked
from mmdiff.data.dataset import spread
from mmdiff.evaluation.evaluated import open_run
from mmdiff.metrics.bootstrap import bootstrap
from mmdiff.metrics.rows import Row, markdown
from mmdiff.model import DiffusionModel


def made(model: DiffusionModel, rows: Sequence[Mapping], shape: Sequence[int], steps: int) -> list[Tensor]:
    """A sample for each row of labels and maps."""
    found: list[Tensor] = []
    for start in range(0, len(rows), 16):
        part = rows[start : start + 16]
        latents = model.latents(part, range(start, start + len(part)), shape, sampler=Auto(steps=steps),
                                guidance=Unguided())
        found += model.decoded(latents)
    return found


def overlap(film: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of the shapes in two films ``(C, T, H, W)``."""
    one, two = ((x - BACKGROUND).abs().mean(0) > score_shapes.LEAST for x in (film, other))
    return (one & two).sum() / (one | two).sum().clamp(min=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--n", type=int, default=48, help="held-out samples")
    parser.add_argument("--steps", type=int, default=12, help="network calls of a sample")
    args = parser.parse_args()
    pipeline = mmdiff.load(args.run)
    model, (name, *_) = pipeline.model, pipeline.model.controls
    held = open_run(args.run, pipeline).held_out
    pairs = [held.read(i) for i in spread(len(held), args.n)]
    real, labels = [sample for sample, _ in pairs], [row for _, row in pairs]
    maps = [model.map_of(name, sample) for sample in real]
    shape, films = maps[0].shape[1:], "frames" in pipeline.size

    def row(samples: Sequence[Tensor], turn: int = 0) -> Row:
        asked, like = maps[turn:] + maps[:turn], real[turn:] + real[:turn]
        own = [model.map_of(name, sample) for sample in samples]
        errors = torch.stack([(a - b).abs().mean() for a, b in zip(own, asked, strict=True)])
        cover = [overlap(a, b) for a, b in zip(samples, like, strict=True)] if films else []
        iou = {"IoU": bootstrap(torch.stack(cover), resamples=500)} if films else {}
        return {"n": len(own), **iou, "error": bootstrap(errors, resamples=500)}

    told = made(model, [{**known, name: asked} for known, asked in zip(labels, maps, strict=True)], shape, args.steps)
    trips = [model.decoded(model.codec.encode(Masked(sample[None])).x)[0] for sample in real]
    table = {
        f"{name} and labels": row(told),
        f"{name} alone": row(made(model, [{name: asked} for asked in maps], shape, args.steps)),
        "labels alone": row(made(model, labels, shape, args.steps)), "control: beside another sample": row(told, 1),
        "codec": row(trips),
    }
    print(markdown([{"": kind, **values} for kind, values in table.items()]))


if __name__ == "__main__":
    main()
