"""Guidance with a scale for each label field or map.

    x0 = x0(c_0) + sum_k s_k (x0(c_k) - x0(c_{k-1})),      c_k: the first k fields told, in the order of the scales

(Brooks et al. 2023, eq. 3, for any number of fields.) A field of scale 0 is left out of the chain and told nowhere:
only multiplied by 0 it would still act through the next difference. A field without a scale is told throughout, so
nothing contrasts with it. A negative label stands where its field is not told yet. Conditions whose predictions cancel
are not computed: with all scales 1 it is one plain call.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .denoiser import Denoiser
from .guidance import Guidance, TimeInterval, inside, time_interval
from .types import Condition, Denoise, expand


class Several(Guidance):
    """One scale a field, ``{"caption": 3.0, "speaker": 1.5}``; all branches are computed in one batched call.

    ``interval`` in t: outside of it all fields are told at scale 1.
    """

    uses_null = True

    def __init__(self, scales: dict[str, float], *, interval: TimeInterval = (0.0, 1.0)):
        if not scales or not all(0 <= scale < math.inf for scale in scales.values()):
            raise ValueError(f"scales names at least one field, each with a scale of 0 or more, got {scales}")
        self.scales, self.interval, self.scaled = dict(scales), time_interval(interval), tuple(scales)
        self.scale = max(scales.values(), key=lambda scale: abs(scale - 1))     # 1 where nothing contrasts

    def check(self, fields: Collection[str]) -> None:
        if unknown := [name for name in self.scales if name not in fields]:
            known = ", ".join(fields) or "none"
            raise ValueError(f"guidance.scales: the model has no field or map {unknown[0]!r}; it has {known}")

    def bind(
        self, labels: Sequence[Mapping[str, Any]], model: Any, negative: Sequence[Mapping[str, Any]] = ()
    ) -> Guidance:
        """Raises ``ValueError`` for a scale of a field that the model does not know, and for a negative label that
        stands in no prediction: that of a field of scale 0 or none, or of one that is told before all that contrasts.
        """
        self.check(model.askable)
        chain = [name for name, scale in self.scales.items() if scale]
        acting = [name for k, name in enumerate(chain) if any(self.scales[n] != 1 for n in chain[: k + 1])]
        if idle := [name for row in negative for name in row if name not in acting]:
            raise ValueError(f"the negative {idle[0]} is of no effect: give it a scale other than 1 and 0 in "
                             "guidance.scales")
        kept = [{n: v for n, v in row.items() if n not in self.scales} for row in labels]
        away = negative or [{}] * len(labels)
        conditions = [
            model.condition([
                {**rest, **{n: (row if n in chain[:k] else other).get(n) for n in chain}}
                for rest, row, other in zip(kept, labels, away, strict=True)
            ])
            for k in range(len(chain) + 1)
        ]
        ends = [1.0, *(self.scales[name] for name in chain), 0.0]     # x0(c_k) counts s_k - s_{k+1} times, s_0 = 1
        return Weighted(conditions, [a - b for a, b in pairwise(ends)], conditions[-1], self.interval)

    def __call__(
        self, denoiser: Denoiser, cond: Condition, *, null: Condition, mask: Tensor | None = None
    ) -> Denoise:
        raise TypeError("Several must be told the labels first: call bind(labels, model)")


class Weighted(Guidance):
    """The sum of ``weights`` times the predictions of ``conditions``; outside of the ``interval`` that of ``plain``."""

    def __init__(self, conditions: Sequence[Condition], weights: Sequence[float], plain: Condition,
                 interval: tuple[float, float]):
        self.conditions, self.weights, self.plain, self.interval = conditions, weights, plain, interval

    def __call__(
        self, denoiser: Denoiser, cond: Condition, *, null: Condition, mask: Tensor | None = None
    ) -> Denoise:
        used = [(c, weight) for c, weight in zip(self.conditions, self.weights, strict=True) if weight]
        joined, weights = Condition.cat([c for c, _ in used]), [weight for _, weight in used]
        masks = None if mask is None else torch.cat([mask] * len(used))

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            within = inside(t, self.interval)
            if weights == [1.0] or within is False:
                return denoiser(x_t, t, self.plain if within is False else used[0][0], mask)
            n = len(used)
            x0 = denoiser(torch.cat([x_t] * n), torch.cat([t] * n), joined, masks).chunk(n)
            guided = sum(weight * part for weight, part in zip(weights, x0, strict=True))
            if within is True:
                return guided
            return torch.where(expand(within, x_t), guided, denoiser(x_t, t, self.plain, mask))

        return denoise
