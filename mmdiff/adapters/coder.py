"""What learns in a codec: an encoder and a decoder with one stride, made for the channels of a modality.

    grid:   positions ceil(n / stride) an axis, or 1 + ceil((n - 1) / stride) where an axis is causal:
            its first position stands alone, and no latent sees what comes after its own

A sample is coded alone, whatever batch it is in, so its latent has the same bits there, in a cache and in a file.
What is not a multiple of the stride is continued by its last values, and cut again where its size is known.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.types import Masked
from ..data.batch import pad, unpad
from .base import Codec


class Coder(nn.Module, ABC):
    """Samples of a modality to what a bottleneck takes, and latents back."""

    encoder: nn.Module
    decoder: nn.Module
    stride: tuple[int, ...] = ()
    """Positions of a sample for one of the latent, an axis; empty where a latent has no place."""
    causal: bool = False
    """Whether the first axis is causal."""
    fixed: int | None = None
    """Channels of the latent, where the encoder leaves no choice."""

    encodes: bool = True
    """Whether its latents are learned: a vocoder learns the way back alone."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """``Codec.facts`` of its latents."""
        return {}

    def check(self, base: Codec) -> None:
        """Raise ``ValueError`` where samples of the modality ``base`` are not what it codes; any are, unless a coder
        says otherwise."""

    @abstractmethod
    def make(self, channels: int, latent: int, moments: int) -> None:
        """Make ``encoder`` (``channels`` to ``moments latent``) and ``decoder`` (``latent`` to ``channels``)."""

    def groups(self, latent: int) -> dict[str, int]:
        """The channels of a latent that are whitened by one deviation, by name: left alone, each by its own."""
        return {f"latent channel {i}": 1 for i in range(latent)}

    @abstractmethod
    def encode(self, x: Masked) -> Masked:
        """``(B, channels, *S)`` -> ``(B, moments latent, *S')`` with the mask of that."""

    @abstractmethod
    def decode(self, z: Masked, extent: Sequence[int] | None = None) -> Masked:
        """``(B, latent, *S')`` -> ``(B, channels, *S)``; ``extent`` is the ``*S`` that is asked for (default: as far as
        the latent reaches)."""

    @abstractmethod
    def latent_extent(self, extent: Sequence[int]) -> tuple[int, ...]:
        """``*S'`` of a sample of ``*S``."""


class GridCoder(Coder):
    """A coder of convolutions over a grid: ``stride`` an axis, the first of which may be ``causal``.

    ``reach`` is how many latents, before and after its own along the first axis, a decoded position depends on, and
    ``sight`` of how many the samples decide a latent: what is longer than ``chunk`` latents is coded in parts with that
    much around them, which changes nothing and bounds the memory. Without ``sight`` a sample is encoded whole.
    ``beside`` are the two along every other axis, to either side, where parts are ``tile`` latents wide; without it
    they are coded whole.
    """

    reach: tuple[int, int]
    sight: tuple[int, int] | None = None
    beside: tuple[int, int] | None = None
    chunk: int = 64
    tile: int = 32

    def latent_extent(self, extent: Sequence[int]) -> tuple[int, ...]:
        return tuple(self._down(n, i) for i, n in enumerate(extent))

    def _down(self, n: int, axis: int) -> int:
        stride = self.stride[axis]
        return 1 + -(-(n - 1) // stride) if self.causal and axis == 0 else -(-n // stride)

    def _up(self, n: int, axis: int) -> int:
        return 1 + (n - 1) * self.stride[axis] if self.causal and axis == 0 else n * self.stride[axis]

    def encode(self, x: Masked) -> Masked:
        if self.training and x.mask is None:
            return Masked(self.encoder(self._continued(x.x)))
        found = [self._encode_parts(self._continued(one[None]))[0] for one in unpad(x)]
        return _joined(found, x.mask is not None)

    def decode(self, z: Masked, extent: Sequence[int] | None = None) -> Masked:
        extents = tuple(self._up(n, i) for i, n in enumerate(z.x.shape[2:])) if extent is None else tuple(extent)
        cut: Any = (..., *(slice(n) for n in extents))
        if self.training and z.mask is None:
            return Masked(self.decoder(z.x)[cut])
        found = [self._decode_parts(one[None])[0][cut] for one in unpad(z)]
        return _joined(found, z.mask is not None)

    def _continued(self, x: Tensor) -> Tensor:
        """``x`` with its last values repeated up to what the stride divides."""
        missing = [self._up(self._down(n, i), i) - n for i, n in enumerate(x.shape[2:])]
        if not any(missing):
            return x
        padding = [n for more in reversed(missing) for n in (0, more)]
        return F.pad(x, padding, mode="replicate")

    def _encode_parts(self, x: Tensor, axis: int = 0) -> Tensor:
        """The latents of ``(1, channels, *S)``, in parts along this axis and those after it where they are many."""
        if axis == len(self.stride):
            return self.encoder(x)
        around = self.sight if axis == 0 else self.beside and (self.beside[1], self.beside[1])
        found, dim = [], axis + 2
        for start, end, low, high in self._parts(self._down(x.shape[dim], axis), axis, around):
            first, last = low * self.stride[axis], min(self._up(high, axis), x.shape[dim])
            part = self._encode_parts(x.narrow(dim, first, last - first), axis + 1)
            found.append(part.narrow(dim, start - low, end - start))
        return found[0] if len(found) == 1 else torch.cat(found, dim)

    def _decode_parts(self, z: Tensor, axis: int = 0) -> Tensor:
        """What latents ``(1, latent, *S')`` decode to, in parts likewise."""
        if axis == len(self.stride):
            return self.decoder(z)
        around = self.reach if axis == 0 else self.beside and (self.beside[0], self.beside[0])
        found, dim = [], axis + 2
        for start, end, low, high in self._parts(z.shape[dim], axis, around):
            part = self._decode_parts(z.narrow(dim, low, high - low), axis + 1)
            first, before = ((self._up(n, axis) if start else 0) for n in (start - low, start))
            found.append(part.narrow(dim, first, self._up(end, axis) - before))
        return found[0] if len(found) == 1 else torch.cat(found, dim)

    def _parts(self, length: int, axis: int, around: tuple[int, int] | None) -> Iterator[tuple[int, int, int, int]]:
        """Latents start .. end, so many at a time, of which low .. high are needed; all, if that is not known."""
        size = length if around is None else self.tile if axis else self.chunk
        before, after = around or (0, 0)
        for start in range(0, length, size):
            end = min(start + size, length)
            yield start, end, max(0, start - before), min(length, end + after)


def _joined(samples: list[Tensor], masked: bool) -> Masked:
    x, mask = pad(samples)
    if masked and mask is None:
        mask = torch.ones_like(x[:, :1], dtype=torch.bool)
    return Masked(x, None if mask is None else mask.to(x.device))
