"""Clouds to whitened coordinates and back.

    y = (x - c) / r                  place and size of each shape, lost on purpose; "global" keeps both: c = 0, r = 1
    latent = (y - mean) / std        over all real points of the training set: a mean a channel, a std a group

Groups are x y z, the normal, the colour, the other features: one std each, so that lengths keep their directions.

    "cube"     r = max |x - c| over axes and points: the longest half side of the box
    "sphere"   r = max ||x - c||_2 over points
"""

import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ...core.types import Masked
from ..attacks import Attack
from ..base import Count
from ..judge import Judge
from ..whitened import WhitenedCodec
from .attacks import attacks
from .files import DISTINCT, load_shape
from .judge import PointJudge
from .reader import PointReader
from .render import Shown, sheet
from .surface import surface
from .turntable import turntable
from .viewer import viewer
from .write import MESH_SUFFIXES, SUFFIXES, write_mesh, write_points

SCALES = ("cube", "sphere", "global")
CENTERS = ("bbox", "mass", "none")
SLACK = 0.05
"""How far a part may stick out of the cube or ball of the whole: generated shapes do, a little."""


class SetCodec(WhitenedCodec):
    """Samples ``(B, C, N)`` <-> latents of the same shape; a mask may hold any of the points.

    ``normalize`` is what becomes of each shape's size: it fills the cube or ball of half side 1, or is kept (global).
    ``center`` is what goes to the origin: the middle of its box, the mean of its points, or nothing; left out, the box,
    and with global nothing. Decoded shapes are in normalised coordinates; global with center none inverts exactly.
    """

    ordered = False
    least = 1
    """Points of a sample: fewer are none, and would not be read again."""

    def __init__(
        self, *, normals: bool = False, colors: bool = False, extra: int = 0,
        normalize: Literal["cube", "sphere", "global"] = "cube",
        center: Literal["bbox", "mass", "none"] | None = None,
    ):
        groups = {"points": 3, "normals": 3 * normals, "colors": 3 * colors, "extra": extra}
        super().__init__(sum(groups.values()), groups=groups)
        if normalize not in SCALES:
            raise ValueError(f"normalize is one of {', '.join(SCALES)}, got {normalize!r}")
        if center is not None and center not in CENTERS:
            raise ValueError(f"center is one of {', '.join(CENTERS)}, or left out; got {center!r}")
        self.normals, self.colors, self.extra, self.normalize = normals, colors, extra, normalize
        self.center = center or ("none" if normalize == "global" else "bbox")

    def features(self, samples: Masked) -> Masked:
        return Masked(self.normalized(samples), samples.mask)

    def encode_part(self, samples: Masked) -> Masked:
        """A part of a shape that is where it belongs in the normalised whole: ``ValueError`` where it sticks out."""
        positions = samples.x[:, :3] if samples.mask is None else torch.where(samples.mask, samples.x[:, :3], 0)
        reach = float((positions.norm(dim=1) if self.normalize == "sphere" else positions).abs().max())
        if self.normalize != "global" and reach > 1 + SLACK:
            raise ValueError(
                f"a part of a shape is given in the {self.normalize} of half side 1 that the whole would fill, but it "
                f"reaches out to {reach:.3g}: scale and move it, or train with adapter.codec.normalize=global"
            )
        return self.whiten(samples)

    def normalized(self, samples: Masked) -> Tensor:
        """``(B, C, N)`` with place and size of each shape normalised; padding does not count."""
        x, mask = samples
        positions, features = x[:, :3].float(), x[:, 3:].float()
        real = torch.ones_like(positions[:, :1], dtype=torch.bool) if mask is None else mask
        positions = positions - self._center(positions, real)
        if self.normalize != "global":
            size = positions.abs() if self.normalize == "cube" else positions.norm(dim=1, keepdim=True)
            radius = torch.where(real, size, 0).amax((1, 2), keepdim=True)
            positions = positions / torch.where(radius > 0, radius, 1)
        return torch.cat([positions, features], 1)

    def _center(self, positions: Tensor, real: Tensor) -> Tensor:
        """``(B, 3, 1)``."""
        if self.center == "none":
            return positions.new_zeros(len(positions), 3, 1)
        if self.center == "mass":
            return torch.where(real, positions, 0).sum(-1, keepdim=True) / real.sum(-1, keepdim=True).clamp(min=1)
        low = torch.where(real, positions, math.inf).amin(-1, keepdim=True)
        high = torch.where(real, positions, -math.inf).amax(-1, keepdim=True)
        return torch.where(real.any(-1, keepdim=True), (low + high) / 2, 0)

    def latent_shape(self, *, points: Count) -> tuple[int]:
        """``(N,)``."""
        if points < self.least or points != int(points):
            raise ValueError(f"points must be whole and at least {self.least}, got {points}")
        return (int(points),)

    def size(self, sample: Tensor) -> dict[str, float]:
        return {"points": sample.shape[-1]}

    def attacks(self) -> dict[str, Attack]:
        return attacks(self.normals)

    def preview(self, samples: list[Tensor], titles: list[str], path: Path) -> Path:
        return sheet(self._shown(samples, titles), path)

    def pictures(self, samples: list[Tensor], titles: list[str], folder: Path) -> list[Path]:
        """The sheet, the same turning, and a page to turn each by hand."""
        shown = self._shown(samples, titles)
        return [
            self.preview(samples, titles, folder / "preview.png"), turntable(shown, folder / "turntable.gif"),
            viewer(shown, folder / "viewer.html"),
        ]

    def _shown(self, samples: list[Tensor], titles: list[str]) -> list[Shown]:
        at = 3 + self.groups["normals"]
        return [
            Shown(sample[:3], title, sample[at : at + 3] if self.colors else None)
            for sample, title in zip(samples, titles, strict=True)
        ]


class PointCodec(SetCodec):
    """Clouds of points on surfaces, with what else is known at each."""

    suffix = ".ply"
    least = DISTINCT

    @property
    def reading(self) -> dict[str, Any]:
        return {"normals": self.normals, "colors": self.colors, "extra": self.extra}

    def save(
        self, sample: Tensor, path: Path, *, mesh: Literal["alpha", "density", "ball_pivot"] | None = None
    ) -> Path:
        """Write the points, or with ``mesh`` a surface through them (``surface``)."""
        if mesh is not None:
            return write_mesh(surface(sample[:3], method=mesh), path)
        return write_points(sample, path, normals=self.normals, colors=self.colors)

    def endings(self, *, mesh: str | None = None, **options: Any) -> tuple[str, ...]:
        return SUFFIXES if mesh is None else MESH_SUFFIXES

    def load(self, path: Path, *, points: float = 2048) -> Tensor:
        """All points of a cloud, or so many of a mesh."""
        shape, name = load_shape(path, textures=self.colors), Path(path).name
        reader = PointReader(points=int(points), **self.reading)
        return reader.channels(shape, name=name) if shape.faces is None else reader.sample(shape, name=name)

    def judge(self) -> Judge:
        return PointJudge()
