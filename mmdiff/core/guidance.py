"""Guidance: a denoiser, a condition and its absence -> one function (x_t, t) -> x0.

    ClassifierFree   x0_u + scale (x0_c - x0_u)           scale 1 = the conditional, 0 = the unconditional
    APG              x0_c + (scale - 1) (orthogonal + eta parallel part of the difference)
    CFGZeroStar      u* v_u + scale (v_c - u* v_u),  u* = <v_c, v_u> / |v_u|^2,  in velocities
    Autoguidance     x0_weak + scale (x0 - x0_weak)
    Several          a scale for each label field (core.several)
    Composed         a list of conditions with a scale each (core.composed)
    Distilled        x0(scale): a model that learned jumps is told the scale, at the cost of no guidance (core.jumps)

Outside ``interval`` (in t) the conditional is used as it is, at half the cost.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .denoiser import Denoiser
from .jumps import JumpDenoiser, along, jumping
from .parameterizations import Velocity
from .types import Condition, Denoise, expand

TimeInterval = tuple[float, float]
Combine = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""``(x_t, t, x0_c, x0_u) -> x0`` from the conditional and the unconditional prediction."""


def time_interval(interval: TimeInterval) -> tuple[float, float]:
    """Two times, checked."""
    low, high = interval
    if not 0 <= low < high <= 1:
        raise ValueError(f"interval must be two times with 0 <= low < high <= 1, got {tuple(interval)}")
    return float(low), float(high)


def inside(t: Tensor, interval: tuple[float, float]) -> bool | Tensor:
    """Whether times lie in an interval: for all of them where they agree, else one answer each."""
    if interval == (0, 1):
        return True
    within = (t >= interval[0]) & (t <= interval[1])
    return bool(within.all()) if within.all() or not within.any() else within


class Guidance(ABC):
    """Binds a condition to a denoiser; the result may hold state of one trajectory and is used for one only."""

    uses_null: bool = False
    """Whether it contrasts with the condition in which nothing is told, which a model must have learned."""

    scale: float = 1.0
    """How far it goes; 1 = no guidance."""

    scaled: tuple[str, ...] = ()
    """The fields and maps that it has a scale of their own for."""

    def check(self, fields: Collection[str]) -> None:  # noqa: B027 (most know no field)
        """Raise ``ValueError`` where it cannot guide a model that is told these fields."""

    @abstractmethod
    def __call__(
        self, denoiser: Denoiser, cond: Condition, *, null: Condition, mask: Tensor | None = None
    ) -> Denoise:
        """``cond`` and ``null`` for B samples, ``mask`` ``(B, 1, *S)`` -> ``(x_t (B, C, *S), t (B,)) -> x0``."""

    def bind(
        self, labels: Sequence[Mapping[str, Any]], model: Any, negative: Sequence[Mapping[str, Any]] = ()
    ) -> "Guidance":
        """The guidance of ``model`` for these B rows of labels, and those to keep away from (none, or B rows too);
        differs only where it needs more than the conditions of both."""
        return self


class Unguided(Guidance):
    """The conditional prediction."""

    def __call__(
        self, denoiser: Denoiser, cond: Condition, *, null: Condition, mask: Tensor | None = None
    ) -> Denoise:
        return denoiser.bind(cond, mask)


class Distilled(Guidance):
    """Guidance that is in the network, which is told its scale (Meng et al. 2023): one forward a call.
    """

    def __init__(self, scale: float = 2.0):
        self.scale = scale

    def __call__(
        self, denoiser: Denoiser, cond: Condition, *, null: Condition, mask: Tensor | None = None
    ) -> Denoise:
        """Raises ``ValueError`` for a model that learned no jumps, or none at this scale."""
        inner = jumping(denoiser, "guidance=distilled")
        low, high = inner.scales
        if not low <= self.scale <= high:
            raise ValueError(f"this model learned guidance scales from {low:g} to {high:g} (diffusion.jumps), got "
                             f"guidance.scale={self.scale:g}")
        return inner.aimed(scale=self.scale).bind(cond, mask)


class _Contrast(Guidance):
    """Guidance by the difference of a condition and its absence, both in one batched forward."""

    uses_null = True

    def __init__(self, scale: float, interval: TimeInterval):
        if scale < 0:
            raise ValueError(f"guidance scale must not be negative, got {scale}")
        self.scale, self.interval = scale, time_interval(interval)

    @abstractmethod
    def combiner(self, denoiser: Denoiser, mask: Tensor | None) -> Combine:
        """Made anew for each trajectory."""

    def __call__(
        self, denoiser: Denoiser, cond: Condition, *, null: Condition, mask: Tensor | None = None
    ) -> Denoise:
        combine, both = self.combiner(denoiser, mask), Condition.cat([cond, null])
        both_mask = None if mask is None else torch.cat([mask, mask])

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            within = inside(t, self.interval)
            if self.scale == 1 or within is False:
                return denoiser(x_t, t, cond, mask)
            if self.scale == 0 and within is True:
                return denoiser(x_t, t, null, mask)
            x0_c, x0_u = denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), both, both_mask).chunk(2)
            guided = combine(x_t, t, x0_c, x0_u)
            return guided if within is True else torch.where(expand(within, x_t), guided, x0_c)

        return denoise


class ClassifierFree(_Contrast):
    """Classifier-free guidance (Ho & Salimans 2022), with an interval (Kynkaanniemi et al. 2024) and rescaling.

    ``rescale`` in [0, 1] mixes in the result at the standard deviation of the conditional (Lin et al. 2024, eq. 15).
    """

    def __init__(self, scale: float = 2.0, *, interval: TimeInterval = (0.0, 1.0), rescale: float = 0.0):
        super().__init__(scale, interval)
        if not 0 <= rescale <= 1:
            raise ValueError(f"rescale must be in [0, 1], got {rescale}")
        self.rescale = rescale

    def combiner(self, denoiser: Denoiser, mask: Tensor | None) -> Combine:
        def combine(x_t: Tensor, t: Tensor, x0_c: Tensor, x0_u: Tensor) -> Tensor:
            x0 = torch.lerp(x0_u, x0_c, self.scale)
            if not self.rescale:
                return x0
            ratio = _std(x0_c, mask) / _std(x0, mask).clamp(min=1e-8)
            return x0 * (self.rescale * ratio + 1 - self.rescale)

        return combine


class APG(_Contrast):
    """Adaptive projected guidance (Sadat et al. 2024): high scales without over-saturation.

    ``norm`` bounds the length of the difference (0 = no bound, in units of the latent), ``momentum`` is that of its
    running sum (negative pushes away from earlier steps), ``eta`` keeps the part parallel to the prediction.
    """

    def __init__(
        self, scale: float = 4.0, *, eta: float = 0.0, norm: float = 0.0, momentum: float = -0.5,
        interval: TimeInterval = (0.0, 1.0),
    ):
        super().__init__(scale, interval)
        if norm < 0 or not -1 < momentum < 1:
            raise ValueError(f"need norm >= 0 and -1 < momentum < 1, got {norm} and {momentum}")
        self.eta, self.norm, self.momentum = eta, norm, momentum

    def combiner(self, denoiser: Denoiser, mask: Tensor | None) -> Combine:
        running: Tensor | None = None

        def combine(x_t: Tensor, t: Tensor, x0_c: Tensor, x0_u: Tensor) -> Tensor:
            nonlocal running
            difference = x0_c - x0_u
            running = difference if running is None else difference + self.momentum * running
            step = running
            if self.norm:
                step = step * (self.norm / _dot(step, step).sqrt().clamp(min=1e-8)).clamp(max=1)
            parallel = _dot(step, x0_c) / _dot(x0_c, x0_c).clamp(min=1e-8) * x0_c
            return x0_c + (self.scale - 1) * (step - (1 - self.eta) * parallel)

        return combine


class CFGZeroStar(_Contrast):
    """CFG-Zero* (Fan et al. 2025): the unconditional velocity optimally scaled, and none at all for t > 1 - ``zero``.

    For models that are still under-trained. ``zero`` is a length in t: 0.04 skips the first of 25 uniform steps.
    """

    def __init__(self, scale: float = 2.0, *, zero: float = 0.0, interval: TimeInterval = (0.0, 1.0)):
        super().__init__(scale, interval)
        if not 0 <= zero < 1:
            raise ValueError(f"zero must be in [0, 1), got {zero}")
        self.zero = zero

    def combiner(self, denoiser: Denoiser, mask: Tensor | None) -> Combine:
        velocity = Velocity()

        def combine(x_t: Tensor, t: Tensor, x0_c: Tensor, x0_u: Tensor) -> Tensor:
            level, slope = denoiser.levels(t, x_t)
            noisy, sigma = level.sigma > 0, level.sigma.clamp(min=torch.finfo(x_t.dtype).tiny)
            v_c, v_u = (
                torch.where(noisy, velocity.target(x0, (x_t - level.alpha * x0) / sigma, level, slope), 0)
                for x0 in (x0_c, x0_u)
            )                                                         # a position given clean has no velocity
            v_u = _dot(v_c, v_u) / _dot(v_u, v_u).clamp(min=1e-8) * v_u
            v = v_u + self.scale * (v_c - v_u)
            if self.zero:
                v = torch.where(expand(t > 1 - self.zero, x_t), 0, v)
            return velocity.denoised(x_t, v, level, slope).to(x_t.dtype)

        return combine


class Autoguidance(Guidance):
    """Guidance by a worse model of the same kind (Karras et al. 2024): smaller, or trained for less.

    ``weak_cond`` is the condition as the weak model's own conditioner gives it; None means that of the strong one.
    """

    def __init__(self, weak: Denoiser, *, scale: float = 2.0, weak_cond: Condition | None = None):
        self.weak, self.scale, self.weak_cond = weak, scale, weak_cond

    def __call__(
        self, denoiser: Denoiser, cond: Condition, *, null: Condition, mask: Tensor | None = None
    ) -> Denoise:
        ends = denoiser.ends if isinstance(denoiser, JumpDenoiser) else None
        if ends is not None and not isinstance(self.weak, JumpDenoiser):
            raise ValueError("autoguidance contrasts the same jump of two models, and the weak one learned none: take "
                             "sampler=auto, or a weak model of few=")
        strong, weak = denoiser.bind(cond, mask), along(self.weak, ends).bind(self.weak_cond or cond, mask)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            if self.scale == 1:
                return strong(x_t, t)
            return torch.lerp(weak(x_t, t), strong(x_t, t), self.scale)

        return denoise


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each sample ``(B, 1, ...)``; padding is zero in a denoiser's output."""
    return (a * b).flatten(1).sum(1).reshape(-1, *(1,) * (a.ndim - 1))


def _std(x: Tensor, mask: Tensor | None) -> Tensor:
    """Standard deviation of each sample over its real positions ``(B, 1, ...)``."""
    count = x[0].numel() if mask is None else _dot(mask.expand_as(x).to(x), torch.ones_like(x)).clamp(min=1)
    mean = _dot(x, torch.ones_like(x)) / count
    return (_dot(x, x) / count - mean**2).clamp(min=0).sqrt()
