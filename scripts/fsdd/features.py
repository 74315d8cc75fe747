"""What scores spoken digits: the recordings, and a classifier whose features are compared.

    waveform 0.768 s, peak 1  ->  log-mel 40 x 77  ->  4 convolutions over time  ->  mean (128)  ->  classes

The front end (25 ms windows every 10 ms, 40 bands) is on purpose not one that a generator is trained on. Levels are
normalised, so loudness is not judged. FSDD's official split: test = recordings 0 to 4, train = 5 to 49.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from mmdiff.adapters.audio.mel import LogMel, MelSpec

RATE = 8000
SIZE = 6144
"""Samples of a clip, 0.768 s: shorter ones are followed by silence, longer ones cropped."""
CLASSES = {
    "digit": tuple("0123456789"),
    "speaker": ("george", "jackson", "lucas", "nicolas", "theo", "yweweler"),
}
TEST_INDICES = range(5)
FRONT_END = MelSpec(
    sample_rate=RATE, n_fft=256, win_length=200, hop_length=80, n_mels=40, f_max=4000, floor=1e-3, centre="start"
)


class Clips(NamedTuple):
    """``waves`` ``(N, SIZE)`` of peak 1; ``digit`` and ``speaker`` ``(N,)`` int64, positions in ``CLASSES``."""

    waves: Tensor
    digit: Tensor
    speaker: Tensor

    @staticmethod
    def of(waves: list[Tensor], digits: list[str], speakers: list[str]) -> "Clips":
        """From mono waves ``(L,)`` and the names of their labels; ``ValueError`` for an unknown one."""
        columns = []
        for field, values in (("digit", digits), ("speaker", speakers)):
            if unknown := set(map(str, values)) - set(CLASSES[field]):
                raise ValueError(f"unknown {field} {sorted(unknown)}: it is one of {', '.join(CLASSES[field])}")
            columns.append(torch.tensor([CLASSES[field].index(str(v)) for v in values]))
        return Clips(torch.stack([fitted(w) for w in waves]), *columns)


def fitted(wave: Tensor) -> Tensor:
    """A mono wave ``(L,)`` cropped or padded to ``(SIZE,)`` and scaled to peak 1; silence stays silence."""
    wave = nn.functional.pad(wave[:SIZE], (0, max(0, SIZE - len(wave))))
    return wave / wave.abs().max().clamp(min=1e-8)


def read_wave(path: Path) -> Tensor:
    """A mono file ``(L,)`` at ``RATE``; ``ValueError`` otherwise."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != RATE:
        raise ValueError(f"{path} has {rate} Hz; these classifiers hear {RATE} Hz: resample it first")
    return torch.from_numpy(samples.mean(1))


def recordings(data: Path, split: str) -> Clips:
    """The recordings of a split, ``"train"`` or ``"test"``, of ``data/{digit}_{speaker}_{index}.wav``."""
    names = [path.stem.split("_") for path in sorted(data.glob("*_*_*.wav"))]
    chosen = [n for n in names if (int(n[2]) in TEST_INDICES) == (split == "test")]
    if not chosen:
        raise ValueError(f"no {split} recordings {{digit}}_{{speaker}}_{{index}}.wav in {data}: is it FSDD's folder?")
    waves = [read_wave(data / f"{'_'.join(n)}.wav") for n in tqdm(chosen, f"reading {split}", unit="clip", leave=False)]
    return Clips.of(waves, [n[0] for n in chosen], [n[1] for n in chosen])


class Classifier(nn.Module):
    """Convolutions over time; its features are the 128 means over time under the last linear layer.

    Bands are channels. With convolutions over bands too, it hears the vocoder: the Fréchet distance of vocoded copies
    was four times that of the recordings themselves, where here both are alike.
    """

    def __init__(self, classes: int, *, width: int = 128):
        super().__init__()
        self.front_end = LogMel(FRONT_END)
        layers = []
        for before, kernel, stride in ((FRONT_END.n_mels, 5, 1), (width, 3, 2), (width, 3, 2), (width, 3, 1)):
            layers += [nn.Conv1d(before, width, kernel, stride, kernel // 2), nn.BatchNorm1d(width), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, classes)

    def log_mel(self, waves: Tensor) -> Tensor:
        """``(B, SIZE)`` -> ``(B, 40, 77)``, roughly in [-1, 1]."""
        lengths = torch.full((len(waves),), waves.shape[-1], device=waves.device)
        return self.front_end(waves, lengths) / 3 + 0.5

    def features(self, log_mel: Tensor) -> Tensor:
        """``(B, 40, T)`` -> ``(B, 128)``."""
        return self.body(log_mel).mean(-1)

    def forward(self, log_mel: Tensor) -> Tensor:
        """``(B, 40, T)`` -> logits ``(B, classes)``."""
        return self.head(self.features(log_mel))

    @torch.no_grad()
    def judge(self, waves: Tensor, *, batch: int = 100) -> tuple[Tensor, Tensor]:
        """Features ``(N, 128)`` and class probabilities ``(N, classes)`` of waves ``(N, SIZE)``."""
        features = torch.cat([self.features(self.log_mel(part)) for part in waves.split(batch)])
        return features, self.head(features).softmax(-1)


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names and values."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        sha.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return sha.hexdigest()


def save(model: Classifier, path: Path, facts: dict) -> str:
    """Write weights with ``facts``, the front end and their hash in the header; gives the hash."""
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    sha256 = digest(weights)
    save_file(weights, path, {"facts": json.dumps({**facts, "front_end": asdict(FRONT_END), "sha256": sha256})})
    return sha256


def load(folder: Path, field: str) -> tuple[Classifier, dict]:
    """The classifier of ``field`` and the facts written with it; ``ValueError`` if it is not what was trained."""
    path = folder / f"{field}.safetensors"
    if not path.is_file():
        raise ValueError(f"{path} does not exist: train it first with scripts/fsdd/classifiers.py --out {folder}")
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["facts"])
    weights = load_file(path)
    if digest(weights) != facts["sha256"]:
        raise ValueError(f"{path} is damaged: its weights do not match the hash in its header; train it again")
    if difference := MelSpec(**facts["front_end"]).difference(FRONT_END):
        raise ValueError(f"{path} was trained with another front end ({difference}): train it again")
    model = Classifier(len(CLASSES[field]))
    model.load_state_dict(weights)
    return model.eval(), facts
