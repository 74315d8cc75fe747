"""Guidance by several wishes at once, each with a scale: of captions above all.

    x0 = x0_u + s (x0(c) - x0_u) + sum_k s_k (x0(c_k) - x0_u)

(Liu et al. 2022, composable diffusion, eq. 11 and 13.) c is what a request tells, c_k what ``also`` does, each on its
own: a field that is to hold in one of them is told in it. A negative scale leads away from a wish. Negative labels of a
request stand in x0_u. Without ``also`` it is classifier-free guidance.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from .denoiser import Denoiser
from .guidance import Guidance, TimeInterval, time_interval
from .several import Weighted
from .types import Condition, Denoise

SHAPE = "{told: {FIELD: VALUE}, scale: NUMBER}"


class Composed(Guidance):
    """``scale`` of what a request tells, and ``also`` any number of wishes ``{"told": {"caption": ...}, "scale": 1}``.

    All are computed in one batched call. ``interval`` in t: outside of it what the request tells is told at scale 1.
    """

    uses_null = True

    def __init__(
        self, scale: float = 2.0, *, also: Sequence[Mapping[str, Any]] = (), interval: TimeInterval = (0.0, 1.0)
    ):
        for wish in also:
            told, weight = wish.get("told"), wish.get("scale")
            number = isinstance(weight, int | float) and not isinstance(weight, bool) and math.isfinite(weight)
            if wish.keys() != {"told", "scale"} or not (isinstance(told, Mapping) and told) or not number:
                raise ValueError(f"guidance.also is a list of {SHAPE}, got {dict(wish)}")
        if not 0 <= scale < math.inf:
            raise ValueError(f"guidance scale is 0 or more, got {scale}; that of a wish in guidance.also may be less")
        self.also = [(dict(wish["told"]), float(wish["scale"])) for wish in also]
        self.own, self.interval = scale, time_interval(interval)
        self.scale = scale + sum(weight for _, weight in self.also)   # x0_u counts 1 less this

    def check(self, fields: Collection[str]) -> None:
        if unknown := [name for told, _ in self.also for name in told if name not in fields]:
            known = ", ".join(fields) or "none"
            raise ValueError(f"guidance.also: the model has no field {unknown[0]!r}; it has {known}")

    def bind(
        self, labels: Sequence[Mapping[str, Any]], model: Any, negative: Sequence[Mapping[str, Any]] = ()
    ) -> Guidance:
        """Raises ``ValueError`` for a wish of what the model cannot be told."""
        self.check(list(model.conditioner.fields))
        for told, _ in self.also:
            model.conditioner.check(told)
        return _Bound(self, [model.condition([told] * len(labels)) for told, _ in self.also])

    def __call__(
        self, denoiser: Denoiser, cond: Condition, *, null: Condition, mask: Tensor | None = None
    ) -> Denoise:
        raise TypeError("Composed must be told the labels first: call bind(labels, model)")


class _Bound(Guidance):
    """``guidance`` with the conditions of what is wished for also."""

    def __init__(self, guidance: Composed, also: Sequence[Condition]):
        self.guidance, self.also = guidance, also

    def __call__(
        self, denoiser: Denoiser, cond: Condition, *, null: Condition, mask: Tensor | None = None
    ) -> Denoise:
        g = self.guidance
        weights = [1 - g.scale, g.own, *(weight for _, weight in g.also)]
        whole = Weighted([null, cond, *self.also], weights, cond, g.interval)
        return whole(denoiser, cond, null=null, mask=mask)
