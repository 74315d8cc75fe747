"""Students of few network calls: how a model that is told of jumps (``diffusion.jumps``) learns them, by ``few=``.

    Paths    D* = arrow(x_t, x_r), two nodes of a path that the teacher made once;   at r = t what it said there

Others are in ``training.consistent``; D* and the loss in ``core.jumps``.
"""

import math
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from omegaconf import DictConfig
from torch import Tensor

from ..cache.paths import SCALE, Cost, cost, paths, way
from ..config.build import ConfigError, build
from ..core.guidance import Distilled
from ..core.jumps import JumpDenoiser, arrow, jump_loss
from ..core.rng import Purpose, uniform
from ..core.schedules import agree
from ..core.types import Level, Masked, expand
from ..data.batch import Batch, Draw
from ..data.dataset import Dataset, Subset
from ..data.labels import Fields, plain_fields
from ..data.loaders import Loading
from ..learner import Learner, Objective
from ..model import DiffusionModel
from ..store import generating
from .base import Base

Chance = Annotated[float, Ge(0), Le(1)]
Number = Annotated[int, Ge(1)]
HELD_OUT = 256
"""Paths that are held out, at most."""


class Few(Objective):
    """How a student learns jumps."""

    distils: bool = True
    """Whether it learns from the model of ``init=``."""

    of_data: bool = True
    """Whether it learns of what the data tell alone."""

    notice: str
    """What it learns, in words."""

    def before(self, teacher: Base | None, config: DictConfig, train: Dataset) -> dict[str, Cost]:
        """What is made before the first step, by its name."""
        return {}

    @abstractmethod
    def start(
        self, model: DiffusionModel, teacher: Base | None, config: DictConfig, train: Dataset, held_out: Dataset
    ) -> tuple[Dataset, Dataset]:
        """What is trained on, and what validated with: ``train`` and ``held_out`` are the samples of the run."""


def began(
    model: Learner, base: Base | None, config: DictConfig, train: Dataset, held_out: Dataset, *, found: Fields
) -> tuple[Dataset, Dataset]:
    """Have ``model`` learn what ``few=`` says, if anything; gives what it is trained on and validated with. ``found``
    are the fields that the data tell.

    Raises ``ConfigError`` for a model that has nothing to learn it from.
    """
    jumps = isinstance(model, DiffusionModel) and model.jumps is not None
    if config.get("few") is None:
        learned = config.init is not None if base is None else "jumps" in base.model.trainable    # None: it goes on
        if jumps and not learned:
            raise ConfigError("diffusion.jumps are learned by few=: name one, or leave diffusion.jumps out")
        if jumps:
            warnings.warn(f"init={config.init} is a student, which few= taught to jump: without it only denoising is "
                          "learned, and jumps are not of these data; few=consistent learns both where the data tell "
                          "nothing new, and what is new its teacher learns first, before few=", stacklevel=2)
        if isinstance(model, DiffusionModel) and not jumps:
            _needs_none(model)
        return train, held_out
    few = build(config.few, Few)
    if not (isinstance(model, DiffusionModel) and jumps):
        raise ConfigError("few= learns jumps: diffusion.jumps is the least and the greatest guidance scale of them, "
                          "such as diffusion.jumps=[1,3]")
    low, high = jumps_of(model).scales
    if isinstance(model.guidance, Distilled) and not low <= model.guidance.scale <= high:
        raise ConfigError(f"guidance.scale={model.guidance.scale:g} is what the student would be asked for, and "
                          f"diffusion.jumps=[{low:g},{high:g}] are the scales that it learns: add "
                          f"guidance.scale={high:g}")
    if low != 1:
        raise ConfigError("a student is asked without guidance too (held-out loss, marks, guidance=none and cfg): "
                          f"diffusion.jumps begin at 1, such as [1,3], got {[*config.diffusion.jumps]}")
    if few.distils:
        _teaches(model, base, train.fields, config)
        if few.of_data and (untold := [name for name in train.fields if name not in found]):
            warnings.warn(f"init={config.init} can be told {', '.join(untold)}, and these data do not tell it: jumps "
                          "are learned where it is not told alone. few=paths tells all that the teacher knows, or name "
                          "data that tell it", stacklevel=2)
    elif high > 1 and model.conditioner.dropped == 0:
        raise ConfigError(f"{_CONTRAST} (adapter.conditioner.drop=0): {_ALONE}")
    model.objective = few
    return few.start(model, base, config, train, held_out)


def objective(model: Learner) -> str:
    """What a student learns, in words; nothing of what is none."""
    learned = getattr(model, "objective", None)
    return learned.notice if isinstance(learned, Few) else ""


def _needs_none(model: DiffusionModel) -> None:
    """Refuse a model that is to generate by jumps, and would not learn any."""
    wants = {"sampler=jump": model.sampler.ends(model.denoiser.schedule) is not None,
             "guidance=distilled": isinstance(model.guidance, Distilled)}
    for name, wanted in wants.items():
        if wanted:
            raise ConfigError(f"{name} is for a model that learns jumps: name few= too, or leave it out")


_CONTRAST = "guidance contrasts with a condition that tells nothing, which is never learned here"
_ALONE = "diffusion.jumps=[1,1] guidance.scale=1 learns jumps without it"


def _teaches(model: DiffusionModel, base: Base | None, fields: Fields, config: DictConfig) -> None:
    """Refuse a model that cannot teach what is asked of it."""
    if base is None:
        raise ConfigError("few= learns from a teacher: name it by init=, or take few=scratch, which has none")
    if plain_fields(fields) != plain_fields(base.fields):
        new = [name for name in fields if name not in base.fields] or [*fields]
        raise ConfigError(f"few= learns what init={config.init} knows, and that was not told {new[0]} as the data tell "
                          f"it: take data.labels=[{','.join(base.fields)}]")
    teacher, most = teacher_of(base), float(config.diffusion.jumps[1])
    if not agree(model.denoiser.schedule, teacher.denoiser.schedule):
        raise ConfigError(f"few= learns the way that init={config.init} goes from noise to data, which is that of its "
                          "schedule: leave out diffusion= and what changes diffusion.schedule or diffusion.shift")
    if teacher.jumps is not None and most > (known := jumps_of(teacher).scales[1]):
        raise ConfigError(f"few= learns guidance from init={config.init}, a student itself that knows scales up to "
                          f"{known:g}: diffusion.jumps=[1,{known:g}] at most, or its own teacher by init=")
    if most > 1 and teacher.conditioner.dropped == 0:
        raise ConfigError(f"{_CONTRAST} (init={config.init} has adapter.conditioner.drop=0): {_ALONE}")


def teacher_of(base: Base | None) -> DiffusionModel:
    """The model of ``init=``, which is there."""
    assert base is not None
    return generating(base.model, base.path)


def jumps_of(model: DiffusionModel) -> JumpDenoiser:
    """The denoiser of a student."""
    assert isinstance(model.denoiser, JumpDenoiser)
    return model.denoiser


@dataclass(frozen=True)
class PathDraw:
    """The nodes where jumps ``begin`` and ``end``; the arguments are those of ``Paths``."""

    calls: int
    free: float
    still: float

    def __call__(self, batch: Batch, seed: int, *, batch_size: int) -> Batch:
        begin, end = self.nodes(uniform(seed, batch.draws, Purpose.JUMP, 5))
        return batch._replace(random={"begin": begin, "end": end})

    def nodes(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Both ``(B,)``, for uniform ``u`` ``(B, 5)``."""
        kinds = max(3, math.gcd(self.calls, 2**30).bit_length() - 1)
        each = 2 ** (u[:, 0] * kinds).long()                          # calls of a sample: 1, 2, 4 ... half of all
        number = (u[:, 1] * each).long()
        begin, end = number * self.calls // each, (number + 1) * self.calls // each
        free, still = u[:, 2] < self.free, u[:, 2] >= 1 - self.still
        begin = torch.where(free, (u[:, 3] * self.calls).long(), begin)
        end = torch.where(free, begin + 1 + (u[:, 4] * (self.calls - begin)).long(), end)
        return begin, torch.where(still, begin, end)


class _Told(Subset):
    """Paths, which are told in the words that they were made of."""

    def captions(self, index: int) -> Mapping[str, Sequence[str]]:
        return {}


class Paths(Few):
    """``n`` paths of the teacher, made once with ``calls`` network calls each: the least work, and the best student up
    to 4 calls. What is learned are the jumps of 1, 2, 4 ... calls, each number as often; the share ``free`` of them
    are between any two nodes, for other numbers, and the share ``still`` goes nowhere, so that the student stays a
    denoiser, for other samplers.
    """

    of_data = False

    def __init__(self, *, n: Number = 4096, calls: Number = 8, free: Chance = 0.1, still: Chance = 0.1):
        if free + still > 1:
            raise ValueError(f"few.free and few.still are shares of the jumps, 1 together at most; got {free}, {still}")
        if calls % 4:
            raise ValueError("few.calls is a multiple of 4, so that each of 1, 2 and 4 calls begins at a node of a "
                             f"path; got {calls}")
        self.n, self.calls, self.free, self.still = n, calls, free, still
        self.made = n + min(HELD_OUT, max(1, n // 16))                # those that are held out come last
        self.notice = f"jumps are learned of {n} paths that init= makes"

    def start(
        self, model: DiffusionModel, teacher: Base | None, config: DictConfig, train: Dataset, held_out: Dataset
    ) -> tuple[Dataset, Dataset]:
        if model.given is not None:
            raise ConfigError(f"few=paths has the teacher make samples of noise and labels, and init={config.init} "
                              "also follows frames that are given: take few=consistent, or adapter.given=null, for a "
                              "student that does not")
        if model.controls:
            raise ConfigError(f"few=paths has the teacher make samples of noise and labels, and init={config.init} "
                              "also follows maps: take few=consistent")
        assert teacher is not None
        base = teacher_of(teacher)
        low, high = map(float, config.diffusion.jumps)
        try:
            latents = paths(base, teacher.header, train, self.made, calls=self.calls, scales=(low, high),
                            seed=config.seed, tags=build(config.loader, Loading).tags)
        except OSError as error:
            raise ConfigError(f"few=paths keeps paths of the teacher, and cannot: {error}. MMDIFF_CACHE names a folder "
                              "for them") from error
        return _Told(latents, range(self.n)), _Told(latents, range(self.n, self.made))

    def before(self, teacher: Base | None, config: DictConfig, train: Dataset) -> dict[str, Cost]:
        assert teacher is not None
        low, high = map(float, config.diffusion.jumps)
        one = cost(teacher_of(teacher), teacher.header, train, self.made, calls=self.calls, scales=(low, high))
        return {"path": one}

    def draw(self, model: DiffusionModel) -> Draw:
        return PathDraw(self.calls, self.free, self.still)

    def loss(self, model: DiffusionModel, batch: Batch) -> Tensor:
        assert batch.random is not None
        return self._loss(model, batch, batch.random["begin"], batch.random["end"])

    def validation_loss(self, model: DiffusionModel, batch: Batch, quantiles: int) -> Tensor:
        """Of jumps that end at the data, from little noise to much."""
        begins = [(quantiles - 1 - q) * self.calls // quantiles for q in range(quantiles)]
        end = torch.full((len(batch.draws),), self.calls)
        return torch.stack([self._loss(model, batch, torch.full_like(end, begin), end) for begin in begins], 1)

    def _loss(self, model: DiffusionModel, batch: Batch, begin: Tensor, end: Tensor) -> Tensor:
        """Of the jumps from node ``begin`` ``(B,)`` of each path to ``end``."""
        (x, mask), denoiser, found = batch.samples, jumps_of(model), way(model, batch.samples.x, self.calls)
        sample, (i, j) = torch.arange(len(x), device=x.device), (node.to(x.device) for node in (begin, end))
        x_t, x_r, said = found.nodes[sample, i], found.nodes[sample, j], found.said[sample, i]
        times = found.times.to(x.device, non_blocking=True)
        t, r = (times[node].to(x) for node in (i, j))
        start, goal = (denoiser.levels(time, x_t)[0] for time in (t, r))
        clean = expand(j == self.calls, x_t)                          # where a schedule itself ends a little above
        goal = Level(torch.where(clean, 1, goal.alpha), torch.where(clean, 0, goal.sigma))
        x0 = torch.where(expand(i == j, x_t), said, arrow(x_t, x_r, start, goal))
        scale = batch.labels[SCALE]
        assert isinstance(scale, Tensor)
        cond = model.conditioner({name: column for name, column in batch.labels.items() if name != SCALE})
        aimed = denoiser.aimed(ends=lambda _: r, scale=scale)
        return jump_loss(aimed, Masked(x_t, mask), x0, t, cond)
