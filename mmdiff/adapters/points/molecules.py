"""Molecules: sets of atoms, each at a place in Angstrom and of an element.

    .xyz      a count, a comment, then  SYMBOL x y z  a line; more columns and lines are left alone, a second molecule
              (the steps of a trajectory) is not
    .csv      columns element, x, y, z          .npz  arrays elements (N,) of symbols and points (N, 3)
    sample    (3 + K, N): places, then a one-hot vector over K elements
    latent    (x - mean_i x_i) / std,   weight * one-hot, whitened;          decoded: the likeliest element

Elements weigh less than places (weight below 1), so that they are settled last, as in EDM (Hoogeboom et al. 2022).
Training turns molecules at random, for networks such as PointDiT that do not turn with their input, as AlphaFold 3
does (2024).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from ...core.types import Masked
from ...data.tables import read_table
from ..base import Reader
from ..judge import Judge
from .augment import TURNS, Turn, rotation
from .codec import SetCodec
from .molecule_judge import MoleculeJudge
from .render import Shown
from .sticks import sticks
from .tables import decoded


class MoleculeReader(Reader):
    """Files to ``(3 + K, N)`` float32, N their own; ``rotate`` turns them at random when training, about the origin."""

    suffixes = (".xyz", ".csv", ".npz")

    def __init__(self, *, elements: Sequence[str], rotate: Turn = "so3"):
        if rotate not in TURNS:
            raise ValueError(f"rotate is one of {', '.join(TURNS)}, got {rotate!r}")
        self.elements, self.rotate = list(elements), rotate

    def read(self, path: Path, rng: np.random.Generator | None = None) -> Tensor:
        symbols, positions = read_molecule(path)
        if unknown := sorted(set(symbols) - set(self.elements)):
            raise ValueError(f"{Path(path).name} holds {', '.join(unknown)}: add it to adapter.codec.elements")
        if rng is not None:
            positions = (positions - positions.mean(0)) @ rotation(self.rotate, rng).T
        kinds = np.array([self.elements.index(symbol) for symbol in symbols])
        return torch.from_numpy(np.concatenate([positions.T, np.eye(len(self.elements))[kinds].T]).astype(np.float32))

    def shape(self, path: Path) -> tuple[int]:
        """Batches are of molecules of one size, as work with pairs of atoms would mostly be of padding."""
        return (len(read_molecule(path)[0]),)


class MoleculeCodec(SetCodec):
    """Samples ``(B, 3 + K, N)`` <-> latents; ``elements`` are K symbols, ``weight`` their standard deviation."""

    suffix = ".xyz"
    incidental = ("weight",)

    def __init__(self, *, elements: Sequence[str] = ("H", "C", "N", "O", "F"), weight: float = 0.25):
        if len(set(elements)) != len(elements) or len(elements) < 2 or not weight > 0:
            raise ValueError(f"need two or more different elements and weight > 0, got {list(elements)} and {weight}")
        super().__init__(extra=len(elements), normalize="global", center="mass")
        self.elements, self.weight = list(elements), weight

    @property
    def reading(self) -> dict[str, Any]:
        return {"elements": self.elements}

    @torch.no_grad()
    def measure(self, features: Iterable[Masked]) -> None:
        super().measure(features)
        self.std[3:] /= self.weight

    def decode(self, latents: Masked) -> Masked:
        x, mask = super().decode(latents)
        kinds = torch.nn.functional.one_hot(x[:, 3:].argmax(1), len(self.elements)).mT.to(x)
        x = torch.cat([x[:, :3], kinds], 1)
        return Masked(x if mask is None else torch.where(mask, x, 0), mask)

    def save(self, sample: Tensor, path: Path) -> Path:
        """Write an .xyz file. Raises ``ValueError`` for another ending, or NaN."""
        if Path(path).suffix.lower() != ".xyz":
            raise ValueError(f"molecules are written as .xyz, not {Path(path).suffix!r}")
        if not torch.isfinite(sample).all():
            raise ValueError(f"{path} is not written: the molecule holds NaN or infinite values")
        symbols = [self.elements[i] for i in sample[3:].argmax(0)]
        rows = [f"{s} {x:.5f} {y:.5f} {z:.5f}" for s, (x, y, z) in zip(symbols, sample[:3].T.tolist(), strict=True)]
        Path(path).write_text("\n".join([str(len(rows)), "", *rows]) + "\n", encoding="utf-8")
        return Path(path)

    def endings(self, **options: Any) -> tuple[str, ...]:
        return (".xyz",)

    def judge(self) -> Judge:
        return MoleculeJudge()

    def load(self, path: Path, **size: float) -> Tensor:
        return MoleculeReader(**self.reading).read(path)

    def _shown(self, samples: list[Tensor], titles: list[str]) -> list[Shown]:
        return [sticks(sample, title, self.elements) for sample, title in zip(samples, titles, strict=True)]


def read_molecule(path: str | Path) -> tuple[list[str], np.ndarray]:
    """Symbols and places ``(N, 3)`` float64 in Angstrom. ``ValueError`` with the reason for a file that is not one."""
    path = Path(path)
    parse, form = {
        ".xyz": (_xyz, "a count, a comment, then SYMBOL x y z a line"), ".csv": (_csv, "columns element, x, y, z"),
        ".npz": (_npz, "arrays elements (N,) and points (N, 3)"),
    }[path.suffix.lower()]
    try:
        symbols, positions = parse(path)
        positions = np.array(positions, np.float64).reshape(len(symbols), 3)
        if strange := [symbol for symbol in symbols if not (isinstance(symbol, str) and symbol.strip())]:
            raise ValueError(f"an element is its symbol, such as C, got {strange[0]!r}")
    except (IndexError, KeyError, TypeError, ValueError, OSError, BadZipFile) as error:
        raise ValueError(f"{path.name} is no molecule ({form}): {error}") from None
    if not symbols or not np.isfinite(positions).all():
        raise ValueError(f"{path.name} holds no atoms, or NaN or infinite places")
    return [symbol.strip().capitalize() for symbol in symbols], positions


def _xyz(path: Path) -> tuple[list[str], list]:
    lines = decoded(path.read_bytes()).split("\n")
    end = 2 + int(lines[0])
    rows = [line.replace("*^", "e").split() for line in lines[2:end]]
    if not 2 <= end <= len(lines):
        raise ValueError(f"it tells of {lines[0].strip()} atoms and has {len(rows)} lines for them")
    if "".join(lines[end : end + 1]).strip().isdecimal() and len(lines) > end + 2:
        raise ValueError("it holds several molecules: write a file each")
    return [row[0] for row in rows], [row[1:4] for row in rows]


def _csv(path: Path) -> tuple[list[Any], list]:
    rows = read_table(path)
    return [row["element"] for row in rows], [[row[axis] for axis in "xyz"] for row in rows]


def _npz(path: Path) -> tuple[list[str], np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return file["elements"].tolist(), file["points"]
