"""Making the rest of something given: what a mode keeps of an input, and how it is made longer than one window.

    extend        the input, then more                   x = [input, new]
    interpolate   the input spread out, new between      x[round(k (T - 1) / (n - 1))] = input[k]
    inpaint       the input but for a hole               x = input outside [start, stop)
    complete      a part of a set, the rest new          as extend, for sets

What is longer than the model's window is extended window by window, each shown the last ``overlap`` positions of what
is there. Where something is filled in, only what is near to it is made, in one window or through overlapping ones at
once; the rest of the input stays as it is, however long it is.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..adapters.base import Codec, Count
from ..config.kinds import annotations, check
from ..core.types import Masked
from .references import Reference, digest_of

MODES = ("extend", "interpolate", "inpaint", "complete")


class Known(NamedTuple):
    """What is known of samples: ``x`` where the ``mask`` is True, with the shapes of ``Masked``."""

    x: Tensor
    mask: Tensor


class MakeLatents(Protocol):
    """``DiffusionModel.latents`` with labels, seeds, sampler and guidance fixed."""

    def __call__(
        self, shape: Sequence[int], *, known: Masked | None = None, window: int | None = None, overlap: int = 0,
        draw: int = 0,
    ) -> Tensor: ...


@dataclass(frozen=True)
class Edit:
    """One editing task, from the file ``input`` (a path, or the text of one). ``keep`` positions of it are used at most
    (the last ones when extending); ``overlap`` positions are shared by windows (default: half a window); ``hole`` is
    (start, stop) for inpaint, in seconds, or in the word that tells the lengths of samples without (``length``).

    A sample that is filled in is as long as the input, any other as long as it is asked for.
    Raises ``ValueError`` for what cannot be done."""

    mode: str
    input: Path
    keep: Count | None = None
    overlap: int | None = None
    hole: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "input", Path(self.input).expanduser())
        for name in ("keep", "overlap", "hole"):
            check(getattr(self, name), annotations(Edit)[name], key=name)
        if self.hole is not None:
            object.__setattr__(self, "hole", tuple(float(s) for s in self.hole))
        if self.mode not in MODES:
            raise ValueError(f"mode is one of {', '.join(MODES)}, got {self.mode!r}")
        if (self.mode == "inpaint") != (self.hole is not None):
            raise ValueError("mode=inpaint needs hole=[start,stop] in seconds, and no other mode takes one")
        if self.hole is not None and not 0 <= self.hole[0] < self.hole[1]:
            raise ValueError(f"hole is [start,stop] with 0 <= start < stop, got {list(self.hole)}")
        if not (self.input.is_file() or self.input.is_dir()):
            raise ValueError(f"input={self.input} is not a file, nor a folder of frames")

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What a sidecar says of it; the input is hashed once for all requests that share the task."""
        return {**asdict(self), "input": self.input.name, "input_sha256": digest_of(self.input)}

    def size(self, codec: Codec, default: Mapping[str, float]) -> dict[str, float]:
        """The size of a sample where none is asked for: ``default``, that of the model, or that of what is filled in.
        The input is opened once for all requests that share the task."""
        return self._source.size(codec, default) if self.mode == "inpaint" else dict(default)

    @cached_property
    def _source(self) -> Reference:
        return Reference(self.input)

    def known(self, codec: Codec, size: dict[str, float], *, device: torch.device) -> Known:
        """What is given, ``(C, *S)`` and mask ``(1, *S)``, as latents of the size asked for."""
        sample = codec.load(self.input, **size)
        encode = codec.encode_part if self.mode == "complete" else codec.encode
        latent = encode(Masked(sample[None].to(device))).x[0]
        if self.keep is not None and self.mode == "complete":         # a set has no first positions
            order = torch.randperm(latent.shape[1], generator=torch.Generator().manual_seed(0))
            latent = latent[:, order[: self.keep]]
        elif self.keep is not None:
            latent = latent[:, -self.keep :] if self.mode == "extend" else latent[:, : self.keep]
        shape = codec.latent_shape(**size)
        if latent.shape[2:] != shape[1:]:
            raise ValueError(f"{self.input} gives latents {tuple(latent.shape[1:])}, which do not fit into {shape}")
        count, length = latent.shape[1], shape[0]
        x = latent.new_zeros(len(latent), *shape)
        mask = torch.zeros(1, *shape, dtype=torch.bool, device=device)
        if self.hole is not None:                                     # inpaint, and no other mode
            start, stop = (_position(codec, size, end) for end in self.hole)
            if not start < stop <= min(count, length):
                raise ValueError(f"hole={list(self.hole)}, positions {start} to {stop}, is not within the input, "
                                 f"{self.input}, of {min(count, length)}")
            where = [i for i in range(min(count, length)) if not start <= i < stop]
            latent = latent[:, where]
        elif count >= length:
            raise ValueError(
                f"{self.input} already has {count} of the {length} positions asked for: ask for more "
                f"({', '.join(f'{name}=' for name in size)}), or use less of it with keep="
            )
        elif self.mode == "interpolate":
            if count < 2:
                raise ValueError("mode=interpolate needs an input of at least two frames; for one, use mode=extend")
            where = [round(k * (length - 1) / (count - 1)) for k in range(count)]
        else:
            where = list(range(count))
        x[:, where], mask[:, where] = latent, True
        return Known(x, mask)


def _position(codec: Codec, size: Mapping[str, float], end: float) -> int:
    """The first position of the latent that is at ``end`` seconds of the sample, or later."""
    words = list(inspect.signature(codec.latent_shape).parameters)
    word = "seconds" if "seconds" in words else words[0]
    return 0 if end <= 0 else codec.latent_shape(**{**size, word: end})[0]


class Way(NamedTuple):
    """How samples are made around what is known of them; those of one size and one way are made together."""

    length: int
    """Positions that are made at once."""

    window: int | None = None
    """Positions of a window, where they are made in several; ``overlap`` are shared by two of them."""

    overlap: int = 0

    given: int | None = None
    """How many are known at the start of what is extended window by window, ``length`` positions each."""


class EncodedEdit(NamedTuple):
    """The sample of an edit, ``(C, *S)`` with ``(1, *S)`` where it is known, on the CPU, and the way that the rest is
    made, from ``start`` on."""

    x: Tensor
    known: Tensor
    way: Way
    start: int

    @staticmethod
    def of(edit: Edit, given: Known, window: int) -> "EncodedEdit":
        """``given`` is where the edit places its input; ``window`` is the length that the model was trained at."""
        x, known = given
        overlap = window // 2 if edit.overlap is None else edit.overlap
        there = known.flatten(2).all(2)[0] if known.ndim > 2 else known[0]
        total = len(there)
        if edit.mode == "complete" or total <= window:
            return EncodedEdit(x, known, Way(total), 0)
        if edit.mode == "extend":
            return EncodedEdit(x, known, Way(window, overlap=overlap, given=int(there.sum())), 0)
        new = (~there).nonzero().flatten().tolist() or [0]
        length = min(total, max(window, new[-1] + 1 - new[0] + overlap))
        start = min(max((new[0] + new[-1] + 1 - length) // 2, 0), total - length)
        return EncodedEdit(x, known, Way(length, window, overlap) if length > window else Way(length), start)


def carry_out(make: MakeLatents, placed: Sequence[EncodedEdit], *, device: torch.device) -> Tensor:
    """Latents ``(B, C, *S)`` around what is known of samples of one way."""
    way = placed[0].way
    x, known = (torch.stack(rows).to(device) for rows in ([p.x for p in placed], [p.known for p in placed]))
    if way.given is not None:
        return roll_out(make, Known(x, known), window=way.length, overlap=way.overlap)
    parts = [slice(p.start, p.start + way.length) for p in placed]
    given, mask = (torch.stack([row[:, p] for row, p in zip(rows, parts, strict=True)]) for rows in (x, known))
    near = Masked(given, mask)
    part_made = make(tuple(near.x.shape[2:]), known=near, window=way.window, overlap=way.overlap)
    for row, part, new in zip(x, parts, part_made, strict=True):
        row[:, part] = new
    return x


def roll_out(make: MakeLatents, known: Known, *, window: int, overlap: int) -> Tensor:
    """Continue what is known at the start of ``(B, C, T, ...)`` to all of T, a window at a time."""
    if not 0 < overlap < window:
        raise ValueError(f"extending needs 0 < overlap < window, got overlap={overlap} and window={window}")
    x, mask = known.x.clone(), known.mask.clone()
    total, done, part = x.shape[2], int(mask[0, 0].reshape(x.shape[2], -1).any(1).sum()), 0
    while done < total:
        start = max(0, min(done - overlap, total - window))
        here = slice(start, start + window)
        x[:, :, here] = make(
            (window, *x.shape[3:]), known=Masked(x[:, :, here], mask[:, :, here]), draw=part
        )
        mask[:, :, here] = True
        done, part = start + window, part + 1
    return x
