"""Score generated spoken digits against real ones, with the rows that tell what a number is worth.

    python scripts/fsdd/score.py --data RECORDINGS --classifiers DIR --generated DIR [DIR ...] [--out report.json]

    digit, speaker   accuracy of classifiers that were trained on the training split, with Wilson's 95 % interval
    FD-digit, MMD    Fréchet and kernel distance to the training split in the digit classifier's 128 features
    score            exp of the mean KL divergence of the digit probabilities to their mean, at most 10
    nearest          mean L2 distance of whitened log-mels to the nearest training clip, over shifts of 3 frames, and
                     its ratio to that of real test clips: far below 1 is copying
    spread           mean L2 distance of whitened log-mels between clips of one digit and speaker

FD-digit depends on the number of clips, so every folder should hold 300: 5 for each digit and speaker. The row of mean
mels shows why accuracy alone is no score: one clip a digit and speaker, all understood.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from features import CLASSES, Classifier, Clips, digest, fitted, load, read_wave, recordings
from torch import Tensor
from tqdm import tqdm

from mmdiff.adapters.audio.codec import MelCodec
from mmdiff.core.types import Masked
from mmdiff.evaluation.bootstrap import bootstrap
from mmdiff.evaluation.classify import accuracy, classifier_score, confusion
from mmdiff.evaluation.frechet import frechet_distance
from mmdiff.evaluation.generated import generated
from mmdiff.evaluation.kernel import kernel_distance
from mmdiff.evaluation.neighbours import nearest_distances, spread
from mmdiff.evaluation.report import markdown, plain

EACH = 5
"""Clips of each digit and speaker."""
SHIFTS = 3
"""Frames by which a training clip may be shifted to match."""
PEAK = 0.9
"""Level of the clips that the codec sees, which is that of training."""


class Reference(NamedTuple):
    """What all rows are compared with."""

    classifiers: dict[str, Classifier]
    codec: MelCodec
    features: Tensor
    """Of the training split, ``(N, 128)``, by the digit classifier."""
    latents: Tensor
    """Of the training split, ``(N, n_mels, T)``."""


def encode(codec: MelCodec, clips: Clips) -> Tensor:
    """Whitened log-mels ``(N, n_mels, T)``."""
    return codec.encode(Masked(PEAK * clips.waves[:, None])).x


def decode(codec: MelCodec, latents: Tensor) -> Tensor:
    """Waves ``(N, SIZE)`` of peak 1."""
    parts = tqdm(latents.split(30), "vocoding", unit="batch", leave=False)
    return torch.stack([fitted(wave) for part in parts for wave in codec.decode(Masked(part)).x[:, 0]])


def mean_mels(reference: Reference, train: Clips) -> Clips:
    """The zero-diversity control: for each digit and speaker the vocoded mean of their log-mels, ``EACH`` times."""
    groups = list(product(*(range(len(names)) for names in CLASSES.values())))
    means = [reference.latents[(train.digit == d) & (train.speaker == s)].mean(0) for d, s in groups]
    waves = decode(reference.codec, torch.stack(means))
    digit, speaker = torch.tensor(groups).T
    return Clips(*(column.repeat_interleave(EACH, 0) for column in (waves, digit, speaker)))


def noise(test: Clips) -> Clips:
    """White noise under the labels of the test split."""
    waves = torch.randn(test.waves.shape, generator=torch.Generator().manual_seed(0))
    return test._replace(waves=waves / waves.abs().amax(1, keepdim=True))


def from_folder(folder: Path) -> Clips:
    """Generated files with the labels that were asked for."""
    files = generated(folder, suffix=".wav", fields=tuple(CLASSES))
    labels = ([str(file.labels[field]) for file in files] for field in CLASSES)
    return Clips.of([read_wave(file.path) for file in files], *labels)


def score(reference: Reference, clips: Clips, *, own_nearest: float | None = None) -> dict[str, Any]:
    """All measurements of one row; ``own_nearest`` is the mean nearest distance of the real test clips."""
    row: dict[str, Any] = {"n": len(clips.waves)}
    tables = {}
    for field, classifier in reference.classifiers.items():
        features, probabilities = classifier.judge(clips.waves)
        predicted, true = probabilities.argmax(1), getattr(clips, field)
        row[field] = accuracy(predicted, true)
        tables[field] = confusion(predicted, true, classes=len(CLASSES[field])).tolist()
        if field == "digit":
            distances = {
                "FD-digit": frechet_distance(features, reference.features),
                "MMD": kernel_distance(features, reference.features),
                "score": classifier_score(probabilities),
            }
    latents = encode(reference.codec, clips)
    nearest, _ = nearest_distances(latents, reference.latents, shifts=SHIFTS)
    groups = list(zip(clips.digit.tolist(), clips.speaker.tolist(), strict=True))
    row |= {**distances, "nearest": bootstrap(nearest), "least": nearest.min().item()}
    row["ratio"] = row["nearest"].value / (own_nearest or row["nearest"].value)
    if len(spreads := spread(latents, groups)) > 1:
        row["spread"] = bootstrap(spreads)
    return row | {"confusion": tables}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of {digit}_{speaker}_{index}.wav at 8 kHz")
    parser.add_argument("--classifiers", type=Path, required=True, help="folder that classifiers.py wrote to")
    parser.add_argument("--generated", type=Path, nargs="*", default=[], help="folders of WAV files with sidecars")
    parser.add_argument("--mel", default="speech_8k_48", help="mel settings of the copies and of nearest and spread")
    parser.add_argument("--out", type=Path, help="also write a JSON report here")
    args = parser.parse_args()
    torch.set_num_threads(1)

    train, test = recordings(args.data, "train"), recordings(args.data, "test")
    classifiers, facts = {}, {}
    for field in CLASSES:
        classifiers[field], facts[field] = load(args.classifiers, field)
    codec = MelCodec(args.mel).eval()
    codec.fit([Masked(PEAK * train.waves[:, None])])
    features, _ = classifiers["digit"].judge(train.waves)
    reference = Reference(classifiers, codec, features, encode(codec, train))

    print(f"{len(train.waves)} training clips, mel {args.mel}, mean {codec.mean:.3f}, std {codec.std:.3f}")
    own = score(reference, test)
    rows = {"real test": own}
    sources = {
        "copy-synthesis of test": lambda: test._replace(waves=decode(codec, encode(codec, test))),
        "control: mean mel": lambda: mean_mels(reference, train),
        "control: white noise": lambda: noise(test),
        **{str(folder): lambda folder=folder: from_folder(folder) for folder in args.generated},
    }
    for name, clips in tqdm(sources.items(), "scoring", unit="row", leave=False):
        rows[name] = score(reference, clips(), own_nearest=own["nearest"].value)
    print(markdown([{"row": name, **{k: v for k, v in row.items() if k != "confusion"}} for name, row in rows.items()]))
    if args.out:
        report = {
            "protocol": {"mel": args.mel, "shifts": SHIFTS, "reference": len(train.waves), "classes": CLASSES},
            "data": {name: digest(part._asdict()) for name, part in (("train", train), ("test", test))},
            "classifiers": facts,
            "rows": {name: plain(row) for name, row in rows.items()},
        }
        args.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
