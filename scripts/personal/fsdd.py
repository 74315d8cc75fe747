"""Personal models of spoken digits: a base of five speakers, ten clips of the sixth, judged on what is heard.

    python scripts/personal/fsdd.py RECORDINGS OUT [--only "LoRA 8 + prior"] [--steps 300] [--base-steps 2600]

Heard by an embedder of all six speakers that is trained here: 100 clips asked of the new one, 100 of the others, 50 of
nobody; guidance 2, 8 network calls. "nearest" is how far what is made is from its nearest of the ten clips, by that of
real other clips of the speaker. What is in OUT already is not made again.
"""

import argparse
import re
from pathlib import Path

import torch
from ways import WAYS as PLAIN
from ways import WHOLE, compare, links, run, share

from mmdiff.adapters.audio.io import AudioReader
from mmdiff.adapters.base import Codec
from mmdiff.config.files import MODEL_FILE
from mmdiff.core.guidance import ClassifierFree
from mmdiff.core.samplers import Auto
from mmdiff.data.folders import FolderDataset
from mmdiff.data.labels import encode_labels
from mmdiff.evaluation.embedders.embedder import Embedder, load_embedder
from mmdiff.evaluation.embedders.fitting import fit, scored
from mmdiff.store import load_model

SPEAKERS, NEW, PATTERN = ["george", "jackson", "lucas", "nicolas", "yweweler"], "theo", r"(?P<digit>\d)_[a-z]+_\d+"
SIZE = {"seconds": 0.768}
WAYS = PLAIN | {
    "LoRA 8 + prior, other clips": ([], 1), "LoRA 8 + prior, yet others": ([], 2),
    "LoRA 8 + prior, digits 0 to 4": ([], 3), "whole + prior, digits 0 to 4": (WHOLE, 3),
}


def real(codec: Codec, recordings: Path, part: str, out: Path) -> tuple[torch.Tensor, list[dict]]:
    """All clips whose names match, with digit and speaker."""
    files = [file for file in sorted(recordings.glob("*.wav")) if re.fullmatch(part, file.stem)]
    reader = AudioReader(**SIZE, peak=0.9, sample_rate=8000)
    data = FolderDataset(reader, links(out, files), pattern=r"(?P<digit>\d)_(?P<speaker>[a-z]+)_\d+", check=False)
    pairs = [data.read(i) for i in range(len(data))]
    clips = codec.judge().stacked([sample for sample, _ in pairs], codec, SIZE)
    return clips, [labels for _, labels in pairs]


def made(model: torch.nn.Module, wishes: list[dict]) -> torch.Tensor:
    """A clip for each wish."""
    shape = model.codec.latent_shape(**SIZE)
    parts = [wishes[i : i + 50] for i in range(0, len(wishes), 50)]
    clips = [model.decoded(model.latents(part, range(50 * i, 50 * i + len(part)), shape, sampler=Auto(steps=8),
                                         guidance=ClassifierFree(scale=2.0))) for i, part in enumerate(parts)]
    return model.codec.judge().stacked([clip for part in clips for clip in part], model.codec, SIZE)


def judged(model: torch.nn.Module, embedder: Embedder, ten: torch.Tensor, rest: torch.Tensor) -> dict[str, float]:
    """A row of the table."""
    def heard(wishes: list[dict]) -> tuple[torch.Tensor, dict[str, list[str]]]:
        x = embedder.judge(made(model, wishes))
        return x.features, {name: [known[k] for k in x.probabilities[name].argmax(1)]
                            for name, known in embedder.classes.items()}

    knows = NEW in model.conditioner.fields["speaker"]
    mine = [{"digit": str(i % 10), **({"speaker": NEW} if knows else {})} for i in range(100)]
    others = [{"digit": str(i // 5 % 10), "speaker": SPEAKERS[i % 5]} for i in range(100)]
    (features, own), (_, old), (_, free) = map(heard, (mine, others, [{"digit": str(i % 10)} for i in range(50)]))
    digits, speakers = ([str(wish[name]) for wish in others] for name in ("digit", "speaker"))
    theirs, known = embedder.judge(rest).features, embedder.judge(ten).features
    near = [torch.cdist(x, known).amin(1).median() for x in (features, theirs)]
    right = [a == NEW and b == wish["digit"] for a, b, wish in zip(own["speaker"], own["digit"], mine, strict=True)]
    return {
        "new speaker heard": share(own["speaker"], [NEW] * 100),
        "digit": share(own["digit"], [wish["digit"] for wish in mine]),
        "digits 5 to 9: both": sum(r for i, r in enumerate(right) if i % 10 > 4) / 50,
        "old speakers": share(old["speaker"], speakers), "their digits": share(old["digit"], digits),
        "taken for the new": share(old["speaker"], [NEW] * 100), "untold: the new": share(free["speaker"], [NEW] * 50),
        "nearest own clip / real": float(near[0] / near[1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--base-steps", type=int, default=2600)
    args = parser.parse_args()
    files, out = sorted(args.recordings.glob("*.wav")), args.out
    five = links(out / "five", [file for file in files if f"_{NEW}_" not in file.name])
    base, steps = out / "base", f"trainer.max_steps={args.base_steps}"
    if not (base / MODEL_FILE).exists():
        run(["experiment=audio/fsdd", f"data.root={five}", "loader.batch_size=32", steps], base)
    codec = load_model(base)[0].codec
    judge, path = codec.judge(), out / "embedder.safetensors"
    if not path.exists():
        x, labels = real(codec, args.recordings, r"\d_[a-z]+_(?![0-4]$)\d+", out / "learned")
        fields = {"digit": [str(d) for d in range(10)], "speaker": sorted([*SPEAKERS, NEW])}
        encoded, settings = encode_labels(fields, labels), judge.settings(codec)
        embedder = fit(x, encoded, judge=judge, fields=fields, settings=settings, steps=500)
        x, labels = real(codec, args.recordings, r"\d_[a-z]+_[0-4]", out / "held")
        embedder.save(path, {"held out": scored(embedder, x, encode_labels(fields, labels))})
    embedder = load_embedder(path, judge=judge)
    print("real held-out clips:", embedder.facts["held out"])
    rest = real(codec, args.recordings, rf"\d_{NEW}_[0-4]", out / "rest")[0]

    def ten(choice: int) -> Path:
        index = [(d % 5, 5 + 2 * (d // 5)) if choice == 3 else (d, 5 + 11 * choice + d) for d in range(10)]
        return links(out / f"ten-{choice}", [args.recordings / f"{digit}_{NEW}_{i}.wav" for digit, i in index])

    def row(model: torch.nn.Module, choice: int) -> dict[str, float]:
        return judged(model, embedder, real(codec, ten(choice), r".*", out / f"learned-{choice}")[0], rest)

    words = [f"data.pattern={PATTERN}", f"subject={NEW}", "data.consent=public data, CC BY-SA 4.0",
             f"trainer.max_steps={args.steps}"]
    compare(out, base, WAYS, words, only=args.only, ten=ten, judged=row)


if __name__ == "__main__":
    main()
