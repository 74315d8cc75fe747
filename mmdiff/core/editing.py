"""Editing: wrappers Denoise -> Denoise, for any modality and any sampler.

    Inpaint    x0 <- where(known, given, x0)
               clean: besides, the network is told  x_t <- where(known, given, x_t),  t <- where(known, 0, t)
    Windowed   x0 <- sum_k w_k x0_k / sum_k w_k       x0_k the prediction for window k of the first axis

A sampler combines x_t and x0 linearly, exactly for constant x0; so where x0 is always the given value, x_t runs from
noise to it as alpha given + sigma eps by itself, and nothing need be replaced along the way.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .types import Denoise


class Inpaint:
    """Keeps what is given and makes the rest: in-painting, extension, interpolation, completion.

    ``given`` ``(B, C, *S)``; ``known`` ``(B, 1, *S)`` bool, True where given. Without ``clean`` the network sees the
    known part as noisy as the rest (replacement, Lugmayr et al. 2022 without resampling): right for every model.
    ``clean=True`` shows it free of noise, with t = 0 there: for a model trained with a level for each position of the
    first axis (Chen et al. 2024, Diffusion Forcing); ``known`` must then be alike over the further axes.
    """

    def __init__(self, denoise: Denoise, given: Tensor, known: Tensor, *, clean: bool = False):
        if known.dtype != torch.bool or known.shape != (len(given), 1, *given.shape[2:]):
            raise ValueError(
                f"known is a bool mask {(len(given), 1, *given.shape[2:])}, got {known.dtype} {tuple(known.shape)}"
            )
        if not torch.isfinite(torch.where(known, given, 0)).all():
            raise ValueError("the given part holds NaN or infinite values")
        self.denoise, self.given, self.known = denoise, torch.where(known, given, 0), known
        self.clean = None
        if clean:
            over = known[:, 0].flatten(2) if known.ndim > 3 else known[:, 0, :, None]
            if (over != over[..., :1]).any():
                raise ValueError("clean=True needs whole positions of the first axis (whole frames) to be known")
            self.clean = over[..., 0]                                 # (B, T)

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """``x_t`` ``(B, C, *S)``, ``t`` ``(B,)`` -> x0 with the given part in its place."""
        if self.clean is not None:
            x_t = torch.where(self.known, self.given, x_t)
            t = torch.where(self.clean, 0, t[:, None])
        return torch.where(self.known, self.given, self.denoise(x_t, t))


class Windowed:
    """One prediction from many overlapping windows of the first axis (MultiDiffusion, Bar-Tal et al. 2023, eq. 5).

    Makes samples longer than what a network was trained on: ``size`` positions a window, at least ``overlap`` of them
    shared with the next. Weights fall off linearly towards a window's ends. A window is a trajectory of its own:
    ``bind()`` gives it a denoiser, which may remember what it saw. So this too is for one trajectory only.
    """

    def __init__(self, bind: Callable[[], Denoise], *, size: int, overlap: int):
        if not 0 <= overlap < size:
            raise ValueError(f"need 0 <= overlap < size, got overlap={overlap} and size={size}")
        self.bind, self.size, self.overlap = bind, size, overlap
        self.windows: dict[int, Denoise] = {}

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """``x_t`` ``(B, C, T, ...)`` of any T, ``t`` ``(B,)`` or ``(B, T)``."""
        length = x_t.shape[2]
        if length <= self.size:
            return self._window(0)(x_t, t)
        ramp = 1 + torch.arange(self.size, device=x_t.device, dtype=x_t.dtype)
        weight = torch.minimum(ramp, ramp.flip(0)).reshape(-1, *(1,) * (x_t.ndim - 3))
        parts = {start: slice(start, start + self.size) for start in starts(length, self.size, self.overlap)}
        weights, x0 = torch.zeros_like(x_t[:1, :1]), torch.zeros_like(x_t)
        for part in parts.values():
            weights[:, :, part] += weight
        for start, part in parts.items():
            fraction = weight / weights[:, :, part]                   # exactly 1 where no other window looks
            x0[:, :, part] += fraction * self._window(start)(x_t[:, :, part], t[:, part] if t.ndim == 2 else t)
        return x0

    def _window(self, start: int) -> Denoise:
        if start not in self.windows:
            self.windows[start] = self.bind()
        return self.windows[start]


def starts(length: int, size: int, overlap: int) -> list[int]:
    """Where the fewest windows of ``size`` start that cover ``length`` and share at least ``overlap`` positions."""
    count = max(1, math.ceil((length - overlap) / (size - overlap)))
    return [round(k * (length - size) / max(1, count - 1)) for k in range(count)]
