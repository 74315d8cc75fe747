"""Score folders of generated clips of a moving digit, beside real ones and real ones made wrong.

    python scripts/moving_digits/score.py --data MNIST --classifier clipnet.safetensors --generated FOLDER ...
"""

import argparse
import json
from pathlib import Path

import torch
from clipnet import SIZE, ClipNet, digits, load, real
from torch import Tensor
from tqdm import tqdm

from mmdiff.adapters.video.reader import read_clip
from mmdiff.evaluation.bootstrap import bootstrap
from mmdiff.evaluation.classify import accuracy
from mmdiff.evaluation.frechet import frechet_distance
from mmdiff.evaluation.generated import generated
from mmdiff.evaluation.kernel import kernel_distance
from mmdiff.evaluation.motion import acceleration, centres, consistency, corrupted, sharpness, speed, wasserstein
from mmdiff.evaluation.neighbours import nearest_distances
from mmdiff.evaluation.report import Row, markdown, plain


class Scorer:
    """Compares clips with ``reference`` ``(N, 1, T, H, W)``; ``train`` are digits to look for copies among."""

    def __init__(self, model: ClipNet, reference: Tensor, train: Tensor):
        self.model, self.reference, self.train = model, reference, train.flatten(1)
        self.features = model.judge(reference).features
        self.motion = [f(centres(reference)) for f in (speed, acceleration)]

    def row(self, clips: Tensor, true: Tensor) -> Row:
        judged, where = self.model.judge(clips), centres(clips)
        return {
            "n": len(clips),
            "class": accuracy(judged.probabilities.argmax(1), true),
            "identity": bootstrap(consistency(judged.frames), torch.mean),
            "FD": frechet_distance(judged.features, self.features),
            "MMD": kernel_distance(judged.features, self.features),
            "speed": speed(where).nanmean().item(),
            "W1 speed": wasserstein(speed(where), self.motion[0]),
            "acceleration": acceleration(where).nanmean().item(),
            "W1 acceleration": wasserstein(acceleration(where), self.motion[1]),
            "sharpness": (sharpness(clips).mean() / sharpness(self.reference).mean()).item(),
            "background": clips.flatten(1).quantile(0.2, dim=1).mean().item(),
            "nearest": nearest_distances(clips.flatten(1), self.train)[0].mean().item(),
        }


def clips_of(folder: Path) -> tuple[Tensor, Tensor]:
    """Generated clips and the classes asked for."""
    files = generated(folder, suffix=".mkv", fields=("digit",))
    clips = [
        read_clip(file.path, height=SIZE, width=SIZE, channels=1)
        for file in tqdm(files, "reading", unit="clip", leave=False)
    ]
    return torch.stack(clips), torch.tensor([int(file.labels["digit"]) for file in files])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz or its folder")
    parser.add_argument("--classifier", type=Path, required=True)
    parser.add_argument("--generated", type=Path, nargs="*", default=[], help="folders of .mkv files with sidecars")
    parser.add_argument("--n", type=int, default=512, help="clips of each real row")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model, facts = load(args.classifier)
    data = digits(args.data)
    scorer = Scorer(model, real(data, "test", 2048, seed=1)[0], real(data, "train", 4096, seed=2)[0])
    clips, true = real(data, "test", 2048 + args.n, seed=1)
    clips, true = clips[2048:], true[2048:]
    rows = {"real test": scorer.row(clips, true)}
    for name, bad in corrupted(clips).items():
        rows[f"control: {name}"] = scorer.row(bad, true)
    rows["control: labels shuffled"] = scorer.row(clips, true.roll(1))
    for folder in args.generated:
        rows[str(folder)] = scorer.row(*clips_of(folder))
    print(markdown([{"row": name, **row} for name, row in rows.items()]))
    if args.out:
        report = {"classifier": facts, "rows": {name: plain(row) for name, row in rows.items()}}
        args.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
