"""Making the rest of something given: what a mode keeps of an input, and how it is made longer than one window.

    extend        the input, then more                   x = [input, new]
    interpolate   the input spread out, new between      x[round(k (T - 1) / (n - 1))] = input[k]
    inpaint       the input but for a hole               x = input outside [start, stop)
    complete      a part of a set, the rest new          as extend, for sets

A sample longer than the model's window is extended window by window, each shown the last ``overlap`` positions of what
is there, or filled in through overlapping windows at once (interpolate, inpaint).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..adapters.base import Codec, Count
from ..config.kinds import annotations, check
from ..core.types import Masked

MODES = ("extend", "interpolate", "inpaint", "complete")


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
    (start, stop) in seconds, for inpaint. Raises ``ValueError`` for what cannot be done."""

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
        if not self.input.is_file():
            raise ValueError(f"input={self.input} is not a file")

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What a sidecar says of it; the input is hashed once for all requests that share the task."""
        digest = sha256(self.input.read_bytes()).hexdigest()
        return {**asdict(self), "input": self.input.name, "input_sha256": digest}

    def place(self, codec: Codec, size: dict[str, float], *, device: torch.device) -> Masked:
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
            start, stop = (codec.latent_shape(**{**size, "seconds": max(s, 1e-6)})[0] for s in self.hole)
            start = 0 if self.hole[0] <= 0 else start
            if not start < stop <= min(count, length):
                raise ValueError(f"hole={list(self.hole)} seconds is not within the input and the length asked for")
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
        return Masked(x, mask)


def carry_out(
    make: MakeLatents, known: Masked, *, mode: str, window: int, overlap: int | None = None
) -> Tensor:
    """Latents ``(B, C, *S)`` around what is ``known`` of them; ``window`` is the length the model was trained at."""
    overlap = window // 2 if overlap is None else overlap
    shape = tuple(known.x.shape[2:])
    if mode == "complete" or shape[0] <= window:
        return make(shape, known=known)
    if mode == "extend":
        return roll_out(make, known, window=window, overlap=overlap)
    return make(shape, known=known, window=window, overlap=overlap)


def roll_out(make: MakeLatents, known: Masked, *, window: int, overlap: int) -> Tensor:
    """Continue what is known at the start of ``(B, C, T, ...)`` to all of T, a window at a time."""
    if not 0 < overlap < window:
        raise ValueError(f"extending needs 0 < overlap < window, got overlap={overlap} and window={window}")
    if known.mask is None:
        raise ValueError("extending needs a mask that tells what is known")
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
