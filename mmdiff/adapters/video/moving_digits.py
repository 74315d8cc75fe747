"""Moving MNIST (Srivastava et al. 2015, section 4.1): handwritten digits that move evenly and bounce off the walls.

    position in [0, 1]^2 of the free range, a random direction, ``step`` of the range a frame, reflected at 0 and 1

Digits of one clip are overlaid by their maximum. Clips that are held out use the test digits only.
"""

import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.rng import Purpose, stream
from ...data.dataset import Dataset
from ...data.labels import Label

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


class MovingDigits(Dataset):
    """Clips ``(1, frames, size, size)`` in [-1, 1], one a digit of ``root``, an npz with the arrays of MNIST.

    ``digits`` move at once, each drawn at ``digit`` pixels; the class is told where there is one. The column ``split``
    is "train" or "test". With an ``rng`` the path of a read is new, otherwise fixed by (``seed``, index).
    """

    def __init__(
        self, reader: object = None, *, root: str | Path, digits: int = 1, frames: int = 20, size: int = 64,
        digit: int = 28, step: float = 0.1, seed: int = 0,
    ):
        if digits < 1 or frames < 1 or not 4 <= digit <= size or not 0 < step <= 1:
            raise ValueError(
                "need digits >= 1, frames >= 1, 4 <= digit <= size (pixels) and step in (0, 1], got "
                f"{digits}, {frames}, {digit}, {size} and {step}"
            )
        arrays = load_arrays(Path(root).expanduser())
        self.images = np.concatenate([arrays["x_train"], arrays["x_test"]])
        self.classes = np.concatenate([arrays["y_train"], arrays["y_test"]])
        self.n_train = len(arrays["x_train"])
        self.digits, self.frames, self.side, self.digit = digits, frames, size, digit
        self.step, self.seed = step, seed
        self.fields = {"digit": [str(c) for c in range(10)]} if digits == 1 else {}

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        chance = stream(self.seed, index, Purpose.DATA) if rng is None else rng
        low, high = (0, self.n_train) if index < self.n_train else (self.n_train, len(self))
        chosen = [index, *chance.integers(low, high, self.digits - 1).tolist()]
        clip = np.zeros((self.frames, self.side, self.side), np.float32)
        for one in chosen:
            picture = self._picture(one)
            for frame, (y, x) in zip(clip, self._path(chance), strict=True):
                part = frame[y : y + self.digit, x : x + self.digit]
                np.maximum(part, picture, out=part)
        labels: dict[str, Label] = {"digit": str(self.classes[index])} if self.fields else {}
        return torch.from_numpy(2 * clip - 1)[None], labels

    def _picture(self, index: int) -> np.ndarray:
        """One digit ``(digit, digit)`` in [0, 1]."""
        image = torch.from_numpy(self.images[index].astype(np.float32) / 255)[None, None]
        if self.digit != image.shape[-1]:
            image = F.interpolate(image, (self.digit, self.digit), mode="bilinear", antialias=True, align_corners=False)
        return image[0, 0].clamp(0, 1).numpy()

    def _path(self, chance: np.random.Generator) -> np.ndarray:
        """Upper left corners ``(frames, 2)`` in pixels."""
        start, angle = chance.random(2), chance.uniform(0, 2 * np.pi)
        travelled = start + self.step * np.arange(self.frames)[:, None] * np.array([np.sin(angle), np.cos(angle)])
        folded = 1 - np.abs(travelled % 2 - 1)
        return np.floor(folded * (self.side - self.digit)).astype(int)

    def name(self, index: int) -> str:
        split, offset = ("train", 0) if index < self.n_train else ("test", self.n_train)
        return f"{split}-{index - offset:05d}"

    def column(self, index: int) -> dict[str, Label]:
        return {"digit": str(self.classes[index]), "split": "train" if index < self.n_train else "test"}

    def report(self) -> dict:
        return {"train": self.n_train, "test": len(self) - self.n_train, "seed": self.seed, "skipped": []}


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an MNIST npz. Raises ``ValueError`` where the file is none."""
    if path.is_dir():
        path = path / "mnist.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ARRAYS}
    except (AttributeError, BadZipFile, EOFError, OSError, ValueError, KeyError, zlib.error) as error:
        raise ValueError(f"data.root={path} is no npz with the arrays {', '.join(ARRAYS)}: {error}") from None
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if x.ndim != 3 or len(x) != len(y) or not len(x):
            raise ValueError(f"{path}: x_{split} {x.shape} and y_{split} {y.shape} are not pictures with their classes")
    return arrays
