"""What scores clips of one moving digit: real clips, and a network whose features are compared.

    frame 32 x 32  ->  3 convolutions of stride 2  ->  128 a frame  ->  2 convolutions over time  ->  mean (128)
    heads: class of the clip, class of each frame, where the digit is at the start and at the end

The last makes the features see motion, which a class alone would not ask for. Real clips are those of the recipe
``experiment=video/moving_digits``; training digits only.
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmdiff.adapters.video.moving_digits import MovingDigits
from mmdiff.core.rng import Purpose, stream

FRAMES, SIZE, DIGIT = 8, 32, 20


class Judged(NamedTuple):
    """``features`` ``(N, 128)``, probabilities of the clip ``(N, 10)``, classes of its frames ``(N, FRAMES)``."""

    features: Tensor
    probabilities: Tensor
    frames: Tensor


class ClipNet(nn.Module):
    """``(B, 1, T, 32, 32)`` in [-1, 1] -> features ``(B, 128)`` and the outputs of the heads."""

    def __init__(self, width: int = 128):
        super().__init__()
        layers, before = [], 1
        for channels in (24, 48, 96):
            layers += [nn.Conv2d(before, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU()]
            before = channels
        self.look = nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * 16, width))
        self.follow = nn.Sequential(
            nn.ReLU(), nn.Conv1d(width, width, 3, padding=1), nn.ReLU(), nn.Conv1d(width, width, 3, padding=1),
            nn.ReLU(),
        )
        self.clip, self.frame, self.ends = nn.Linear(width, 10), nn.Linear(width, 10), nn.Linear(width, 4)

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features ``(B, 128)``, logits of clips ``(B, 10)`` and frames ``(B, T, 10)``, ends ``(B, 4)``."""
        seen = self.look(clips.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(clips), -1))       # (B, T, 128)
        features = self.follow(seen.transpose(1, 2)).mean(2)
        return features, self.clip(features), self.frame(seen.relu()), self.ends(features)

    @torch.no_grad()
    def judge(self, clips: Tensor, *, batch: int = 128) -> Judged:
        """What it says of clips ``(N, 1, FRAMES, 32, 32)``."""
        parts = [self(part) for part in clips.split(batch)]
        features, clip, frame, _ = (torch.cat(part) for part in zip(*parts, strict=True))
        return Judged(features, clip.softmax(1), frame.argmax(2))


def digits(root: Path) -> MovingDigits:
    """The data set of the recipe."""
    return MovingDigits(root=root, frames=FRAMES, size=SIZE, digit=DIGIT)


def real(data: MovingDigits, split: str, n: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """``n`` clips ``(n, 1, T, H, W)`` and their classes, of digits of a split drawn without repetition."""
    low, high = (0, data.n_train) if split == "train" else (data.n_train, len(data))
    order = stream(seed, 0, Purpose.ORDER).permutation(high - low)[:n] + low
    read = [data.read(int(i), stream(seed, int(i), Purpose.AUGMENT)) for i in order]
    return torch.stack([clip for clip, _ in read]), torch.tensor([int(labels["digit"]) for _, labels in read])


def save(model: ClipNet, path: Path, facts: dict) -> str:
    """Write the weights with ``facts`` and their hash in the header; gives the hash."""
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    digest = hashlib.sha256(b"".join(name.encode() + weights[name].numpy().tobytes() for name in sorted(weights)))
    save_file(weights, path, {"facts": json.dumps({**facts, "sha256": digest.hexdigest()})})
    return digest.hexdigest()


def load(path: Path) -> tuple[ClipNet, dict]:
    """The network and its facts."""
    model = ClipNet()
    model.load_state_dict(load_file(path))
    with safe_open(path, framework="pt") as file:
        return model.eval(), json.loads(file.metadata()["facts"])
