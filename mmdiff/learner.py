"""What a run trains: all that training, validation, previews and the model file know of it.

    loss of a batch, by (seed, draw)  ->  gradient, step, average of ``trainable``  ->  ``replaced``, previewed, saved

``DiffusionModel`` is one kind. The part of a configuration that names a class of this role (``diffusion``) says what
is trained, and the parameters of that class say which other parts it is made of.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from .adapters.adversary import Adversary
from .adapters.base import Codec
from .adapters.controls import Control
from .adapters.texts import TextEncoder
from .core.types import Masked
from .data.batch import Batch
from .data.coupling import Coupling
from .data.labels import Column, Fields, Label
from .data.reader import Reader

Example = tuple[str, Tensor]
"""A title, and a sample ``(C, *S)`` on the CPU."""


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


class Objective(ABC):
    """What a diffusion model learns of a batch."""

    @abstractmethod
    def loss(self, model: Any, batch: Batch, seed: int, *, batch_size: int) -> Tensor:
        """Per sample ``(B,)``, fixed by (seed, draw); a step has ``batch_size`` draws."""

    @abstractmethod
    def validation_loss(self, model: Any, batch: Batch, quantiles: int) -> Tensor:
        """``(B, quantiles)`` from little noise to much, of held-out samples."""


class Denoising(Objective):
    """The expected x0."""

    def loss(self, model: Any, batch: Batch, seed: int, *, batch_size: int) -> Tensor:
        d = model.drawn(batch, seed, batch_size=batch_size)
        cond = model.drawn_condition(d)
        return model.diffusion_loss(model.denoiser, d.x0, eps=d.eps, t=d.t, cond=cond)          # x_t, network, target

    def validation_loss(self, model: Any, batch: Batch, quantiles: int) -> Tensor:
        """At the mid-quantiles of the time distribution."""
        d = model.held_out(batch)
        cond, u = model.drawn_condition(d), (torch.arange(quantiles, dtype=torch.float64) + 0.5) / quantiles
        times = model.diffusion_loss.time.quantile(u, model.denoiser.schedule).to(d.t)
        losses = [model.diffusion_loss(model.denoiser, d.x0, eps=d.eps, t=t.expand(len(d.t)), cond=cond) for t in times]
        return torch.stack(losses, 1)


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
    coupling: Coupling | None = None
    """How the points of a set are paired with the noise of their draw before they are a batch."""
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

    @abstractmethod
    def loss(self, batch: Batch, seed: int, *, batch_size: int | None = None) -> Tensor:
        """Training loss per sample ``(B,)``; all that is random in it is fixed by (seed, draw).

        ``batch_size`` is the number of draws of one optimizer step.
        """

    def losses(self, batch: Batch, seed: int, *, batch_size: int | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """``loss``, and numbers per sample to be logged beside it; that called ``adversary`` is the loss of what learns
        against it."""
        return self.loss(batch, seed, batch_size=batch_size), {}

    @abstractmethod
    def validation_loss(self, batch: Batch) -> Tensor:
        """``(B, len(validated))``, without gradient: two evaluations of one set of weights are equal bit for bit."""

    @abstractmethod
    def preview(
        self, samples: Sequence[Tensor], labels: Sequence[Mapping[str, Label]], size: Mapping[str, float], *,
        encoded: bool,
    ) -> list[Example]:
        """What a preview shows, always the same for the same weights: ``samples`` of the data with their ``labels`` are
        where it starts from (their features where they are ``encoded``), ``size`` is that of a usual one."""

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
