"""Personal models of solids: a base of six kinds made by code, ten files of the seventh, judged by their shape.

    python scripts/personal/solids.py OUT [--only "LoRA 8 + prior"] [--new table] [--steps 150] [--base-steps 640]

The kind of a cloud is that of the nearest of 280 others by Chamfer distance: of 50 asked of the new kind, 60 of the
others, 28 of nothing; guidance 2, 8 network calls. "nearest" is how far what is made is from its nearest of the ten, by
that of real others of the kind. What is in OUT already is not made again.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from ways import WAYS, compare, links, run, share

from mmdiff.adapters.points.codec import PointCodec
from mmdiff.adapters.points.pairwise import chamfer_matrix
from mmdiff.adapters.points.reader import PointReader
from mmdiff.adapters.points.score_solids import LabelledClouds, real
from mmdiff.adapters.points.scores import cube
from mmdiff.adapters.points.solids import SOLIDS, Solids
from mmdiff.core.guidance import ClassifierFree
from mmdiff.core.samplers import Auto

POINTS, FILES, DENSE = 192, 60, 1024
"""Points of a cloud; files of a kind, and points of one."""


def written(folder: Path) -> list[Path]:
    """Files of all kinds, ``KIND_NUMBER.ply``."""
    folder.mkdir(parents=True, exist_ok=True)
    data, codec = Solids(PointReader(points=DENSE), n=FILES * len(SOLIDS)), PointCodec()
    files = []
    for i in range(len(data)):
        path = folder / f"{data.column(i)['solid']}_{i // len(SOLIDS):02d}.ply"
        if not path.exists():
            codec.save(data.read(i)[0], path)
        files.append(path)
    return files


def made(model: torch.nn.Module, wishes: list[dict]) -> np.ndarray:
    """A cloud for each wish."""
    latents = model.latents(wishes, range(len(wishes)), model.codec.latent_shape(points=POINTS), sampler=Auto(steps=8),
                            guidance=ClassifierFree(scale=2.0))
    return cube(np.stack([cloud.T.numpy() for cloud in model.decoded(latents)]))


def judged(model: torch.nn.Module, new: str, ten: np.ndarray, known: LabelledClouds) -> dict[str, float]:
    """A row of the table."""
    kinds, others = np.array(known[1]), [kind for kind in SOLIDS if kind != new]

    def seen(clouds: np.ndarray) -> list[str]:
        return [str(kind) for kind in kinds[chamfer_matrix(clouds, known[0], title="looking").argmin(1)]]

    def near(clouds: np.ndarray) -> float:
        return float(np.median(chamfer_matrix(clouds, ten, title="looking").min(1)))

    wish = {"solid": new} if new in model.conditioner.fields["solid"] else {}
    mine, old = made(model, [wish] * 50), [others[i % len(others)] for i in range(60)]
    kept, free = seen(made(model, [{"solid": kind} for kind in old])), seen(made(model, [{}] * 28))
    return {
        "new kind seen": share(seen(mine), [new] * 50), "old kinds": share(kept, old),
        "taken for the new": share(kept, [new] * 60), "untold: the new": share(free, [new] * 28),
        "nearest own / real": near(mine) / near(known[0][kinds == new]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--new", choices=SOLIDS, default="table")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--base-steps", type=int, default=640)
    args = parser.parse_args()
    out, files = args.out, written(args.out / "files")
    own = [file for file in files if file.name.startswith(args.new)][:10]
    folder = links(out / "ten", own)
    base, pattern = out / "base", r"data.pattern=(?P<solid>[a-z]+)_\d+"
    others = links(out / "six", [file for file in files if not file.name.startswith(args.new)])
    run(["experiment=points/demo", "data=folder", f"data.root={others}", pattern, "preview.every=0",
         "validation.every=0", f"trainer.max_steps={args.base_steps}"], base)
    reader = PointReader(points=POINTS)
    ten = cube(np.stack([reader.read(file).T.numpy() for file in own]))
    known = real(40 * len(SOLIDS), POINTS, seed=0)
    words = [f"subject={args.new}", "data.labels=[]", "data.consent=made by code", f"trainer.max_steps={args.steps}",
             "loader.batch_size=16"]
    compare(out, base, WAYS, words, only=args.only, ten=lambda choice: folder,
            judged=lambda model, choice: judged(model, args.new, ten, known))


if __name__ == "__main__":
    main()
