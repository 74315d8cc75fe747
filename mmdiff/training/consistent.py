"""Students that learn jumps without stored paths, by what the denoiser says on the way.

    D* = a D(x_t, t, s, w) + (1 - a) D_on_the_way(x_s, s, w),     x_s = jump(x_t, t -> s),     s = r + part (t - r)

    Consistent   on the way, the teacher under guidance by w;     at r = t that is all of D*
    Scratch      on the way, the student itself at r = s; at r = t the data teach it guidance and all,
                 D* = x0 + (1 - 1 / w) (D(x_t, t, t, w) - D(x_t, t, t, w; nothing told))

Nothing is learned through D*; a is ``core.jumps.share``. D* would be exact if x0 stayed the same from s to r, so
``part`` falls from 1, where all of the way is the denoiser's, to ``least`` over the run (Lagrangian self-distillation,
Boffi et al. 2025, with finite steps as in alpha-Flow, Zhang et al. 2025). Guidance is trained in as in MeanFlow (Geng
et al. 2025).
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from annotated_types import Gt, Le
from omegaconf import DictConfig
from torch import Tensor

from ..core.jumps import JumpDenoiser, blend, guided, jump, jump_loss
from ..core.rng import Purpose, uniform
from ..core.types import Condition, Masked, expand
from ..data.batch import Batch, Draw
from ..data.dataset import Dataset
from ..learner import Denoising, Drawn, KeyedDraw
from ..model import DiffusionModel
from .base import Base
from .few import Chance, Few, jumps_of, teacher_of

Part = Annotated[float, Gt(0), Le(1)]


class _Way(NamedTuple):
    """What B jumps take: from ``x_t`` at t by s to r; times ``(B,)``, or ``(B, T)`` with what is given."""

    x_t: Tensor
    t: Tensor
    s: Tensor
    r: Tensor
    scale: Tensor
    still: Tensor
    """``(B,)`` bool: those that go nowhere, r = t."""
    cond: Condition
    null: Condition


@dataclass(frozen=True)
class WayDraw(KeyedDraw):
    """Where jumps go, ``t``, ``s``, ``r`` and ``scale`` of ``_Way``, beside what is random in ``denoising``.

    The arguments are those of the objective; ``draws`` are those of a run of so many steps.
    """

    denoising: Draw
    ends: float
    still: float
    least: float
    steps: int
    scales: tuple[float, float]

    def __call__(self, batch: Batch, seed: int, *, batch_size: int) -> Batch:
        batch = self.denoising(batch, seed, batch_size=batch_size)
        assert batch.random is not None
        times, u = batch.random["t"], uniform(seed, batch.draws, Purpose.JUMP, 5)
        progress = (batch.draws / (batch_size * self.steps)).clamp(max=1)
        (low, high), noisiest = self.scales, times if times.ndim == 1 else times.amax(1)
        still, part, scale = u[:, 0] < self.still, (self.least**progress).to(noisiest), low + (high - low) * u[:, 4]
        u = u.to(noisiest)
        t = torch.where((u[:, 1] < self.ends) & ~still, 1, noisiest)
        r = torch.where(still, t, torch.where(u[:, 2] < self.ends, 0, t * u[:, 3]))
        s = r + part * (t - r)
        if times.ndim == 2:                                           # what is given is clean all the way
            t, s, r = (torch.where(times > 0, time[:, None], 0) for time in (t, s, r))
        way = {"begin": t, "middle": s, "end": r, "scale": scale.to(noisiest), "still": still}
        return batch._replace(random={**batch.random, **way})


class _Consistency(Few):
    """``ends`` is the chance that a jump begins at noise alone, and that it ends at the data; ``still`` the share of
    those that go nowhere."""

    def __init__(self, ends: float, still: float, least: float):
        self.ends, self.still, self.least, self.steps = ends, still, least, 1

    def start(
        self, model: DiffusionModel, teacher: Base | None, config: DictConfig, train: Dataset, held_out: Dataset
    ) -> tuple[Dataset, Dataset]:
        self.steps = config.trainer.max_steps
        return train, held_out

    @abstractmethod
    def on_the_way(self, model: DiffusionModel, drawn: Drawn, way: _Way, x_s: Tensor) -> Tensor:
        """The x0 that a denoiser under guidance gives at ``x_s``, at the time ``way.s``."""

    def at_rest(self, model: DiffusionModel, drawn: Drawn, way: _Way, x0: Tensor) -> Tensor:
        """D* at r = t, where ``x0`` is what the denoiser gives there."""
        return x0

    def draw(self, model: DiffusionModel) -> Draw:
        return WayDraw(model.denoising_draw, self.ends, self.still, self.least, self.steps, jumps_of(model).scales)

    def loss(self, model: DiffusionModel, batch: Batch) -> Tensor:
        drawn, denoiser = model.drawn(batch), jumps_of(model)
        way = self._drawn_way(model, drawn, batch)
        mask = drawn.x0.mask
        with torch.no_grad():
            first = self._aimed(denoiser, way.s, way.scale)(way.x_t, way.t, way.cond, mask)
            t, s, r = (denoiser.levels(time, way.x_t)[0] for time in (way.t, way.s, way.r))
            x_s = torch.where(expand(way.still, first), way.x_t, jump(way.x_t, first, t, s))
            second = self.on_the_way(model, drawn, way, x_s)
            x0 = torch.lerp(second, first, blend(t, s, r))
            x0 = torch.where(expand(way.still, x0), self.at_rest(model, drawn, way, second), x0)
        aimed = self._aimed(denoiser, way.r, way.scale)
        return jump_loss(aimed, Masked(way.x_t, mask), x0, way.t, way.cond)

    def validation_loss(self, model: DiffusionModel, batch: Batch, quantiles: int) -> Tensor:
        """That of the denoiser, r = t without guidance."""
        return Denoising().validation_loss(model, batch, quantiles)

    def _drawn_way(self, model: DiffusionModel, drawn: Drawn, batch: Batch) -> _Way:
        assert batch.random is not None
        t, s, r, scale, still = (
            batch.random[name].to(drawn.t.device) for name in ("begin", "middle", "end", "scale", "still")
        )
        level = model.denoiser.levels(t, drawn.x0.x)[0]
        x_t = level.alpha * drawn.x0.x + level.sigma * drawn.eps
        return _Way(x_t, t, s, r, scale, still, model.drawn_condition(drawn),
                    model.conditioner.contrast(drawn.labels, len(scale)))

    def _aimed(self, denoiser: JumpDenoiser, end: Tensor, scale: Tensor) -> JumpDenoiser:
        noisiest = end if end.ndim == 1 else end.amax(1)
        return denoiser.aimed(ends=lambda _: noisiest, scale=scale)


class Consistent(_Consistency):
    """Learns from the teacher at each step, of the data of the run: no paths are made, and all that the teacher can is
    kept. One forward of the student and one of the teacher (two under guidance) more than a step of denoising."""

    notice = "jumps are learned of what init= says of these samples"

    def __init__(self, *, ends: Chance = 0.4, still: Chance = 0.25, least: Part = 0.05):
        super().__init__(ends, still, least)
        self._teacher: DiffusionModel | None = None

    def start(
        self, model: DiffusionModel, teacher: Base | None, config: DictConfig, train: Dataset, held_out: Dataset
    ) -> tuple[Dataset, Dataset]:
        self._teacher = teacher_of(teacher)
        return super().start(model, teacher, config, train, held_out)

    def on_the_way(self, model: DiffusionModel, drawn: Drawn, way: _Way, x_s: Tensor) -> Tensor:
        assert self._teacher is not None
        teacher = self._teacher.to(x_s.device)
        cond, null = teacher.drawn_condition(drawn), teacher.conditioner.contrast(drawn.labels, len(x_s))
        scale = None if jumps_of(model).scales == (1, 1) else way.scale
        return teacher.codec.limited(guided(teacher.denoiser, cond, null, scale, drawn.x0.mask)(x_s, way.s))


class Scratch(_Consistency):
    """Learns denoising, guidance and jumps at once, from the data, without a teacher. Two further forwards a step."""

    distils = False
    notice = "jumps are learned of these samples"

    def __init__(self, *, ends: Chance = 0.4, still: Chance = 0.5, least: Part = 0.05):
        super().__init__(ends, still, least)

    def on_the_way(self, model: DiffusionModel, drawn: Drawn, way: _Way, x_s: Tensor) -> Tensor:
        return self._aimed(jumps_of(model), way.s, way.scale)(x_s, way.s, way.cond, drawn.x0.mask)

    def at_rest(self, model: DiffusionModel, drawn: Drawn, way: _Way, x0: Tensor) -> Tensor:
        if jumps_of(model).scales == (1, 1):
            return drawn.x0.x
        aimed = self._aimed(jumps_of(model), way.t, way.scale)
        unconditional = aimed(way.x_t, way.t, way.null, drawn.x0.mask)
        return drawn.x0.x + expand(1 - 1 / way.scale, x0) * (x0 - unconditional)
