"""Guidance by several conditions at once, each with a scale: of captions above all.

    x0 = x0_u + s (x0(c) - x0_u) + sum_k s_k (x0(c_k) - x0_u)

(Liu et al. 2022, composable diffusion, eq. 11 and 13.) c is the condition of a request, c_k those of ``also``, each on
its own: a field that is to hold in one of them is set in it. A negative scale leads away from it. Negative labels of a
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

SHAPE = "{cond: {FIELD: VALUE}, scale: NUMBER}"


class Composed(Guidance):
    """``scale`` of a request, and ``also`` any number of conditions ``{"cond": {"caption": ...}, "scale": 1}``.

    All are computed in one batched call. ``interval`` in t: outside of it the request alone counts, at scale 1.
    """

    uses_null = True

    def __init__(
        self, scale: float = 2.0, *, also: Sequence[Mapping[str, Any]] = (), interval: TimeInterval = (0.0, 1.0)
    ):
        for other in also:
            cond, weight = other.get("cond"), other.get("scale")
            number = isinstance(weight, int | float) and not isinstance(weight, bool) and math.isfinite(weight)
            if other.keys() != {"cond", "scale"} or not (isinstance(cond, Mapping) and cond) or not number:
                raise ValueError(f"guidance.also is a list of {SHAPE}, got {dict(other)}")
            for name, value in cond.items():
                if isinstance(value, bool) or not isinstance(value, str | int | float):
                    raise ValueError(f"guidance.also: {name} is a text or a number, got {value!r}; in quotes any word "
                                     'is a text, {caption: "true"}')
        if not 0 <= scale < math.inf:
            raise ValueError(f"guidance scale is 0 or more, got {scale}; that of guidance.also may be less")
        self.also = [(dict(other["cond"]), float(other["scale"])) for other in also]
        self.cond_scale, self.interval = scale, time_interval(interval)
        self.scale = scale + sum(weight for _, weight in self.also)   # x0_u counts 1 less this

    def check(self, fields: Collection[str]) -> None:
        if unknown := [name for cond, _ in self.also for name in cond if name not in fields]:
            known = ", ".join(fields) or "none"
            raise ValueError(f"guidance.also: the model has no field {unknown[0]!r}; it has {known}")

    def bind(
        self, labels: Sequence[Mapping[str, Any]], model: Any, negative: Sequence[Mapping[str, Any]] = ()
    ) -> Guidance:
        """Raises ``ValueError`` for what the model cannot be conditioned on."""
        self.check(list(model.conditioner.fields))
        for cond, _ in self.also:
            model.conditioner.check(cond)
        return _Bound(self, [model.contrast(labels, [cond] * len(labels)) for cond, _ in self.also])

    def __call__(
        self, denoiser: Denoiser, cond: Condition, *, null: Condition, mask: Tensor | None = None
    ) -> Denoise:
        raise TypeError("Composed must be told the labels first: call bind(labels, model)")


class _Bound(Guidance):
    """``guidance`` with the conditions of ``also``."""

    def __init__(self, guidance: Composed, also: Sequence[Condition]):
        self.guidance, self.also = guidance, also

    def __call__(
        self, denoiser: Denoiser, cond: Condition, *, null: Condition, mask: Tensor | None = None
    ) -> Denoise:
        g = self.guidance
        weights = [1 - g.scale, g.cond_scale, *(weight for _, weight in g.also)]
        combined = Weighted([null, cond, *self.also], weights, cond, g.interval)
        return combined(denoiser, cond, null=null, mask=mask)
