"""What a run trains: all that training, validation, previews and the model file know of it.

    loss of a batch, by (seed, draw)  ->  gradient, step, average of ``trainable``  ->  ``replaced``, previewed, saved

``DiffusionModel`` is one kind. The part of a configuration that names a class of this role (``diffusion``) says what
is trained, and the parameters of that class say which other parts it is made of.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from .adapters.adversary import Adversary
from .adapters.base import Codec, Conditioner
from .adapters.controls import Control, MapSource
from .adapters.texts import TextEncoder
from .core.given import Given
from .core.rng import Purpose, normal_at, stream, uniform
from .core.schedules import Schedule
from .core.times import TimeDistribution
from .core.types import Masked
from .data.batch import Batch, Draw, pad, unpad
from .data.coupling import Coupling
from .data.labels import Column, Fields, Label
from .data.reader import Reader
from .nn.tensors import outlined

Example = tuple[str, Tensor]
"""A title, and a sample ``(C, *S)`` on the CPU."""


def latent_extents(codec: Codec, batch: Batch) -> list[tuple[int, ...]]:
    """``*S`` of the latent of each sample, by its shape alone."""
    if batch.encoded:
        return [tuple(x.shape[1:]) for x in unpad(batch.samples)]
    return [tuple(codec.latent_shape(**codec.size(x))) for x in unpad(batch.samples)]


def largest(extents: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """What they are padded to in a batch."""
    return tuple(map(max, zip(*extents, strict=True)))


class KeyedDraw:
    """A ``Draw`` that is pickled for data workers without the weights of modules that it knows."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: outlined(part) if isinstance(part, nn.Module) else part for name, part in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


@dataclass(frozen=True)
class DenoisingDraw(KeyedDraw):
    """Noise ``eps``, times ``t``, and which maps are ``kept``; labels are hidden, sets paired with their noise."""

    codec: Codec
    conditioner: Conditioner
    schedule: Schedule
    time: TimeDistribution
    given: Given | None
    coupling: Coupling | None
    controls: int
    """How many maps there are."""
    all_maps: bool = False
    """Whether all of them are told, always."""

    def __call__(self, batch: Batch, seed: int, *, batch_size: int) -> Batch:
        extents, draws = latent_extents(self.codec, batch), batch.draws
        shape = largest(extents)
        eps = normal_at(seed, draws, Purpose.NOISE, (len(draws), self.codec.channels, *shape), extents)
        t = self.time.draw(uniform(seed, draws, Purpose.TIME)[:, 0], self.schedule, index=draws % batch_size,
                           count=batch_size)
        if self.given is not None:
            lengths = torch.tensor([extent[0] for extent in extents])
            t = torch.where(self.given.clean(seed, draws, lengths, shape[0]), 0, t[:, None])
        u = uniform(seed, draws, Purpose.DROP, 1 + len(batch.labels) + self.controls)
        if batch.keep_labels is not None:
            u = torch.where(batch.keep_labels[:, None], 1.0, u)                       # above every share that is hidden
        hidden, maps = u.split([1 + len(batch.labels), self.controls], 1)
        everything, each = self.conditioner.drop_all, self.conditioner.drop_each
        kept = (hidden[:, :1] >= everything) & (maps >= (each or everything)) | self.all_maps
        return batch._replace(
            samples=self._paired(batch.samples, eps, extents),
            labels=self.conditioner.hide(self._varied(batch.labels, seed, draws), hidden),
            random={"eps": eps, "t": t.float(), "kept": kept}, extents=None if len(set(extents)) == 1 else extents,
        )

    def _varied(self, labels: dict[str, Column], seed: int, draws: Tensor) -> dict[str, Column]:
        """The labels with texts as training reads them."""
        if (encoder := self.conditioner.encoder()) is None:
            return labels
        return {
            name: value if isinstance(value, Tensor) else [
                text and encoder.varied(text, stream(seed, draw, Purpose.WORDS, 1 + field))
                for text, draw in zip(value, draws.tolist(), strict=True)
            ]
            for field, (name, value) in enumerate(labels.items())
        }

    def _paired(self, samples: Masked, eps: Tensor, extents: Sequence[tuple[int, ...]]) -> Masked:
        """The samples, the points of each in the order that goes with its noise."""
        if self.coupling is None or self.coupling.kind == "independent":
            return samples
        noise = unpad(Masked(eps, samples.mask), extents)
        pairs = zip(unpad(samples, extents), noise, strict=True)
        return samples._replace(x=pad([self.coupling(x.cpu(), e) for x, e in pairs]).x.to(samples.x.device))


class Drawn(NamedTuple):
    """What a diffusion model learns of B samples in one step."""

    features: Masked
    x0: Masked
    eps: Tensor
    t: Tensor
    labels: dict[str, Column]
    """Those that are told."""
    kept: Tensor
    """``(B, controls)`` bool: which maps are told."""
    extents: Sequence[tuple[int, ...]] | None = None
    """``*S`` of each sample, where they differ and are known."""
    beside: Mapping[str, MapSource] = MappingProxyType({})
    """What maps are made of, by name, instead of the samples."""


class Objective(ABC):
    """What a diffusion model learns of a batch."""

    def draw(self, model: Any) -> Draw:
        """What is random in ``loss``."""
        return model.denoising_draw

    @abstractmethod
    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Per sample ``(B,)``, of a batch with all that is random."""

    @abstractmethod
    def validation_loss(self, model: Any, batch: Batch, quantiles: int) -> Tensor:
        """``(B, quantiles)`` from little noise to much, of held-out samples."""


class Denoising(Objective):
    """The expected x0."""

    def loss(self, model: Any, batch: Batch) -> Tensor:
        d = model.drawn(batch)
        cond = model.drawn_condition(d)
        return model.diffusion_loss(model.denoiser, d.x0, eps=d.eps, t=d.t, cond=cond)          # x_t, network, target

    def validation_loss(self, model: Any, batch: Batch, quantiles: int) -> Tensor:
        """At the mid-quantiles of the time distribution."""
        d = model.held_out(batch)
        cond, u = model.drawn_condition(d), (torch.arange(quantiles, dtype=torch.float64) + 0.5) / quantiles
        times = model.diffusion_loss.time.quantile(u, model.denoiser.schedule).to(d.t)
        losses = [model.diffusion_loss(model.denoiser, d.x0, eps=d.eps, t=t.expand(len(d.t)), cond=cond) for t in times]
        return torch.stack(losses, 1)


def draw_nothing(batch: Batch, seed: int, *, batch_size: int) -> Batch:
    """The draw of a loss in which nothing is random."""
    return batch._replace(random={})


class Learner(nn.Module, ABC):
    """What a run trains."""

    holds: str
    """What its model file is, in words: ``diffusion model``."""

    use: str
    """What can be done with it then, a command about ``{run}``: ``generate with: mmdiff sample {run}``."""

    validated: Sequence[str]
    """The names of the columns of ``validation_loss``; the first is ``loss``."""

    reader: Reader
    codec: Codec
    controls: Mapping[str, Control] = MappingProxyType({})
    """The maps that it is told."""

    @property
    @abstractmethod
    def trainable(self) -> nn.ModuleDict:
        """What training changes, and an average of weights is taken over."""

    @abstractmethod
    def replaced(self, trainable: nn.ModuleDict) -> Self:
        """The same with other trainable parts (an average of them, say); everything else is shared."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The part whose lists of modules are the blocks that may be compiled, or computed again to save memory."""

    @property
    def against(self) -> Adversary | None:
        """What learns against it, with an optimizer of its own; in checkpoints, not in the model file."""
        return None

    @property
    def stored(self) -> nn.Module:
        """What its model file holds the tensors of."""
        return self

    @property
    def draw(self) -> Draw:
        """What is random in its loss, for data workers: nothing, unless a learner says otherwise."""
        return draw_nothing

    @abstractmethod
    def loss(self, batch: Batch, seed: int, *, batch_size: int | None = None) -> Tensor:
        """Training loss per sample ``(B,)``; all that is random in it is fixed by (seed, draw).

        ``batch_size`` is the number of draws of one optimizer step. A batch for which ``draw`` has been called is taken
        as it is.
        """

    def losses(self, batch: Batch, seed: int, *, batch_size: int | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """``loss``, and numbers per sample to be logged beside it; ``critic_loss`` is the loss of what learns
        against it."""
        return self.loss(batch, seed, batch_size=batch_size), {}

    @abstractmethod
    def validation_loss(self, batch: Batch) -> Tensor:
        """``(B, len(validated))``, without gradient: two evaluations of one set of weights are equal bit for bit."""

    @abstractmethod
    def preview(
        self, samples: Sequence[Tensor], labels: Sequence[Mapping[str, Label]], size: Mapping[str, float], *,
        encoded: bool, beside: Sequence[Mapping[str, Tensor | None]] = (),
    ) -> list[Example]:
        """What a preview shows, always the same for the same weights: ``samples`` of the data with their ``labels``,
        and what lies ``beside`` each for maps, are where it starts from (their features where they are ``encoded``);
        ``size`` is that of a usual one."""

    def open(self) -> None:
        """Open the files that only training reads. Raises ``ValueError`` for one that cannot be used."""

    def measure(self, samples: Iterable[Masked], *, encoded: bool) -> None:
        """Measure what the training set has to tell before the first step; ``encoded`` samples are features."""

    @property
    def fields(self) -> Fields:
        """What it can be told."""
        return {}

    def encoder(self) -> TextEncoder | None:
        """What reads the texts that it is told."""
        return None

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.parameters()).device
