"""Jumps along the sampling path, from a time t to an earlier one r, by a network that is told where it jumps to.

    jump    x_r = k x_t + (alpha_r - k alpha_t) D,   k = sigma_r / sigma_t      DDIM's step, D the x0 of the jump
    arrow   D   = (x_r - k x_t) / (alpha_r - k alpha_t)                         its inverse: what a known pair asks for
    loss    |D(x_t, t, r, w) - D*|^2 (1 + SNR(t)),   D* = arrow or what else a jump is to be; w its guidance scale
    blend   D(t -> r) = (1 - a) D(s -> r) + a D(t -> s),   a = (q_s - q_t) / (q_r - q_t),   q = alpha / sigma

d(x / sigma) = D dq along the path, so the x0 of a jump is the mean over q of the denoiser's on the way: the last line
is exact for t >= s >= r, and at r = t D is the denoiser. All that takes an x0 (parameterization, loss, masks, editing,
limits) takes that of a jump. Its weight is 1 + SNR (Karras et al. 2022) whatever that of denoising, as others are 0
where jumps begin, at noise alone.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .denoiser import Denoiser
from .loss import DiffusionLoss
from .parameterizations import Parameterization
from .schedules import Schedule
from .types import Condition, Denoise, Level, Masked, expand
from .weightings import EDM

Ends = Callable[[Tensor], Tensor]
"""``t (B,) -> r (B,)``: where a jump from t ends, at t at most."""


def jump(x_t: Tensor, x0: Tensor, start: Level, end: Level) -> Tensor:
    """x at ``end`` from x at ``start``, by the x0 of the jump; levels broadcast. Where ``start`` is clean it stays."""
    k = end.sigma / start.sigma
    return torch.where(start.sigma > 0, k * x_t + (end.alpha - k * start.alpha) * x0, x_t)


def arrow(x_t: Tensor, x_r: Tensor, start: Level, end: Level) -> Tensor:
    """The x0 of the jump from ``x_t`` to ``x_r``; ``end`` lies nearer to the data than ``start``."""
    k = end.sigma / start.sigma
    return (x_r - k * x_t) / (end.alpha - k * start.alpha)


def blend(start: Level, middle: Level, end: Level) -> Tensor:
    """By how much the first part counts in the x0 of a jump in two parts, a in [0, 1]; 1 for one that goes nowhere."""
    first = (middle.alpha * start.sigma - start.alpha * middle.sigma) * end.sigma
    total = (end.alpha * start.sigma - start.alpha * end.sigma) * middle.sigma
    return torch.where(total > 0, first / total.clamp(min=torch.finfo(total.dtype).tiny), 1).clamp(0, 1)


def jump_loss(denoiser: Denoiser, x_t: Masked, x0: Tensor, t: Tensor, cond: Condition) -> Tensor:
    """Loss per sample ``(B,)`` of a denoiser that is aimed, whose x0 at ``x_t`` is to be ``x0``.

    With the noise that is then in x_t it is the loss of any denoiser, through every parameterization.
    """
    level, _ = denoiser.levels(t, x_t.x)
    eps = torch.where(level.sigma > 0, (x_t.x - level.alpha * x0) / level.sigma, 0)
    return DiffusionLoss(weight=EDM())(denoiser, Masked(x0, x_t.mask), eps=eps, t=t, cond=cond)


class JumpDenoiser(Denoiser):
    """A denoiser whose network is told besides where it jumps to, and by what scale it is guided.

    ``embedding(level of r (B,), scale (B,)) -> (B, D)`` is added to ``cond.vector``; ``scales`` are the least and the
    greatest that it learns. As it is made r = t and the scale is 1: it is the ordinary denoiser.
    """

    def __init__(
        self, network: nn.Module, schedule: Schedule, parameterization: Parameterization, *, embedding: nn.Module,
        scales: tuple[float, float] = (1.0, 3.0),
    ):
        super().__init__(network, schedule, parameterization)
        low, high = scales
        if not 1 <= low <= high:
            raise ValueError(f"jumps are told guidance scales from 1 on, least and greatest; got {tuple(scales)}")
        self.embedding, self.scales = embedding, (float(low), float(high))
        self.ends: Ends | None = None
        self.scale: float | Tensor = 1.0

    def aimed(self, *, ends: Ends | None = None, scale: float | Tensor | None = None) -> "JumpDenoiser":
        """The same that is told these ``ends``, or this ``scale``: one for all, or ``(B,)``."""
        other = copy.copy(self)
        other.ends = self.ends if ends is None else ends
        other.scale = self.scale if scale is None else scale
        return other

    def output(self, x_t: Tensor, t: Tensor, cond: Condition | None = None, mask: Tensor | None = None) -> Tensor:
        """As that of any denoiser. Where ``t`` is ``(B, T)`` the jump is that of the noisiest position."""
        begin, cond = t if t.ndim == 1 else t.amax(1), cond or Condition()
        end = self.level(begin if self.ends is None else self.ends(begin))
        scale = self.scale if isinstance(self.scale, Tensor) else end.new_full((len(end),), self.scale)
        embedded = self.embedding(end.to(x_t.dtype), scale.to(x_t.dtype))
        vector = embedded if cond.vector is None else cond.vector + embedded
        return super().output(x_t, t, cond._replace(vector=vector), mask)


def jumping(denoiser: Denoiser, asked: str) -> JumpDenoiser:
    """The same. Raises ``ValueError`` where it was not trained for what is ``asked``."""
    if isinstance(denoiser, JumpDenoiser):
        return denoiser
    raise ValueError(f"{asked} is for a model that learned jumps, and this one did not: mmdiff train init=RUN "
                     "few=paths makes one of it")


def along(denoiser: Denoiser, ends: Ends | None) -> Denoiser:
    """The denoiser for a sampler whose calls jump to ``ends``; None: they do not, and ask for the expected x0."""
    return denoiser if ends is None else jumping(denoiser, "sampler=jump").aimed(ends=ends)


def guided(
    denoiser: Denoiser, cond: Condition, null: Condition, scale: Tensor | None, mask: Tensor | None = None
) -> Denoise:
    """Classifier-free guidance by a scale for each sample, ``(B,)``: what a student of ``denoiser`` learns at once;
    None: without, that is by scale 1."""
    if scale is None:
        return denoiser.bind(cond, mask)
    if isinstance(denoiser, JumpDenoiser):                            # it has learned it already
        return denoiser.aimed(scale=scale).bind(cond, mask)
    both, masks = Condition.cat([cond, null]), None if mask is None else torch.cat([mask, mask])

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        x0_c, x0_u = denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), both, masks).chunk(2)
        return x0_u + expand(scale.to(x_t), x_t) * (x0_c - x0_u)

    return denoise
