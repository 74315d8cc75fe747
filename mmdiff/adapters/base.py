"""A modality is four parts: reader (file -> sample), codec (sample <-> latent), conditioner (labels -> condition) and
network.

Everything else (training, sampling, checkpoints, the command line) is shared. The codec whitens: over the training
set its latents have zero mean and unit variance, so the core knows one scale.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, final

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from ..core.given import Given
from ..core.types import Condition, Masked
from ..data.coupling import Coupling
from ..data.labels import Column, Fields, Label, encode_labels
from ..data.reader import Reader as Reader
from ..nn.tensors import load_tensors
from .attacks import Attack
from .controls import Control
from .judge import Judge
from .texts import TextEncoder

Count = Annotated[int, Ge(1)]
Amount = Annotated[float, Gt(0)]


class Codec(nn.Module, ABC):
    """Samples to latents and back, and latents' sizes. Statistics and frozen weights are buffers of the module."""

    channels: int
    """C of the latent; networks take it from here."""

    suffix: str
    """The file ending that samples are saved with unless another is asked for."""

    of_files: tuple[str, ...] = ()
    """Arguments of the constructor that are left to the files where they are null, see ``Reader.settle``."""

    incidental: tuple[str, ...] = ()
    """Arguments of the constructor (and modules of that name) that change no feature, such as a vocoder."""

    downsampling: tuple[int, ...] = ()
    """Positions of a sample for one of the latent, an axis; empty where they are the same, or of no grid."""

    ordered: bool = True
    """Whether each latent has a place, or a meaning, of its own; else they are a set, and their order says nothing."""

    public_parts: tuple[str, ...] = ()
    """Parts of a public model (``adapter.model``) that it works with."""

    identity: str = ""
    """The hash of what features depend on besides settings, parameters and buffers: of weights in such a part."""

    measured: bool = True
    """Whether its whitening is measured on the training set; else it came with the codec."""

    @property
    @abstractmethod
    def reading(self) -> dict[str, Any]:
        """What the codec asks of its reader, as keyword arguments (``{"sample_rate": 8000}``)."""

    def encode(self, samples: Masked) -> Masked:
        """``(B, C_sample, *S_sample)`` -> whitened latent ``(B, channels, *S)`` with its mask."""
        return self.whiten(self.features(samples))

    def features(self, samples: Masked) -> Masked:
        """The latent before it is whitened: what a cache may hold, as it does not depend on the training set.

        Those of a sample are the same in any batch. Without a learned or fixed transform: the samples themselves.
        """
        return samples

    @abstractmethod
    def whiten(self, features: Masked) -> Masked:
        """Features ``(B, channels, *S)`` to latents of the same shape, zero outside the mask."""

    @abstractmethod
    def unwhiten(self, latents: Masked) -> Masked:
        """The inverse of ``whiten``."""

    def encode_part(self, samples: Masked) -> Masked:
        """As ``encode``, of a part of each sample, on which nothing of the whole can be measured."""
        return self.encode(samples)

    @abstractmethod
    def decode(self, latents: Masked) -> Masked:
        """Back to samples; positions outside the mask are zero."""

    def decode_sized(self, latents: Masked, **size: float) -> Masked:
        """As ``decode``, of the size that was asked for in the words of ``latent_shape``, where a latent alone does not
        tell it: a stride has rounded it up, or a set may have any number of points."""
        return self.decode(latents)

    def limited(self, latents: Tensor) -> Tensor:
        """Generated latents ``(B, channels, *S)`` brought to where those of the training set are; without statistics of
        that, as they are. Those of the training set are not changed."""
        return latents

    def finished(self, sample: Tensor) -> tuple[Tensor, dict[str, float]]:
        """A decoded sample ``(C_sample, *S_sample)`` as users get it, and what had to be changed for that: numbers by
        name, which its sidecar has and the user is told of; empty where nothing was."""
        return sample, {}

    @abstractmethod
    def latent_shape(self, *args: Any, **size: Any) -> tuple[int, ...]:
        """``*S`` for a requested size. Each codec names its own: ``mmdiff sample`` and tables of requests take them by
        the names and annotations of its parameters (``*, seconds: Amount``, ``*, points: Count``)."""

    @abstractmethod
    def size(self, sample: Tensor) -> dict[str, float]:
        """The size of a sample ``(C_sample, *S_sample)`` in the words of ``latent_shape``."""

    @abstractmethod
    def save(self, sample: Tensor, path: Path) -> Path:
        """Write one decoded sample ``(C_sample, *S_sample)`` to a file whose ending picks the format.

        Further parameters with defaults, by their names and annotations, are options of ``mmdiff sample``.
        """

    def endings(self, **options: Any) -> tuple[str, ...]:
        """The file endings that ``save`` writes with these options; none where only ``save`` knows."""
        return ()

    @abstractmethod
    def load(self, path: Path, *args: Any, **size: Any) -> Tensor:
        """A whole file as a sample ``(C_sample, *S_sample)``; of ``size`` counts what a file does not fix itself."""

    @abstractmethod
    def preview(self, samples: list[Tensor], titles: list[str], path: Path) -> Path:
        """Write one PNG that shows several samples side by side."""

    def judge(self) -> Judge:
        """What ``mmdiff eval`` judges samples with. Raises ``ValueError`` where nothing does."""
        raise ValueError(
            f"{type(self).__name__} has no judge() that says what its samples are judged by: name a protocol, such as "
            "evaluation=series_v1 for series (C, T)"
        )

    def frozen(self) -> dict[str, int]:
        """Bytes of the weights of public models that it works with, by what they are; see ``public_parts``."""
        return {}

    @property
    def modality(self) -> "Codec":
        """The codec that knows the samples, which judges ask: itself, but of a learned one that within it."""
        return self

    @property
    def learned(self) -> bool:
        """Whether its features are latents that something has learned, and not pixels, spectra or coordinates."""
        return self.modality is not self or bool(self.public_parts)

    def check_map(self, name: str, control: type[Control]) -> None:
        """Raise ``ValueError`` for a map that makes no sense of latents that were learned."""
        if self.learned and not control.of_latents:
            raise ValueError(f"the map {name} is made of samples as they are, and {type(self).__name__} has latents "
                             "that were learned: let adapter/controls=companion follow files of such maps, "
                             "data.maps.companion=FOLDER, which are encoded as the samples are")

    @property
    def facts(self) -> Mapping[str, Any]:
        """What controls may want to know of its features, by the names of their arguments: ``spectrum`` has the
        settings of spectrograms."""
        return {}

    def attacks(self) -> dict[str, Attack]:
        """What a mark should survive, by name: files that are written anew, parts that are cut off, noise.

        ``ValueError`` or ``OSError`` where one cannot be tried with a sample.
        """
        return {}

    def pictures(self, samples: list[Tensor], titles: list[str], folder: Path) -> list[Path]:
        """Write what shows the samples of a job into ``folder``, ``preview.png`` first."""
        return [self.preview(samples, titles, folder / "preview.png")]

    @final
    def fit(self, samples: Iterable[Masked]) -> None:
        """Measure the whitening on batches of the training set."""
        self.measure(self.features(batch) for batch in samples)

    @abstractmethod
    def measure(self, features: Iterable[Masked]) -> None:
        """Measure the whitening on the features of the training set."""


class Conditioner(nn.Module, ABC):
    """Labels to a ``Condition``. A label that is absent (class -1, scalar NaN) stands for "not told"."""

    fields: Fields
    """What can be told: the constructor's first argument, from the data."""

    dim: int
    """D of ``Condition.vector`` and ``Condition.tokens``; 0 for none."""

    vector_dim: int | None = None
    """D of ``Condition.vector`` where that is another; None = ``dim``."""

    default_fields: Fields | None = None
    """What can be told where no data say, of that of a public model."""

    public_parts: tuple[str, ...] = ()
    """Parts of a public model (``adapter.model``) that it works with."""

    tokens: bool = False
    """Whether it gives ``Condition.tokens``; a network that takes the argument ``tokens`` is told."""

    drop_all: float = 0.1
    """Share of training samples that are told no map (``adapter.controls``), those that are told no label."""

    drop_each: float = 0.0
    """Share of which any one map is hidden besides; where it is 0, as many as ``drop_all``."""

    dropped: float | None = None
    """Share of training samples of which nothing was told, from which ``null`` is learned; None = not known."""

    @abstractmethod
    def forward(self, labels: dict[str, Column]) -> Condition:
        """``labels`` maps field names to what B samples are told: ``(B,)`` tensors, or B texts."""

    @abstractmethod
    def null(self, batch: int) -> Condition:
        """The condition of ``batch`` samples of which nothing is told."""

    def contrast(
        self, labels: dict[str, Column], batch: int, away: dict[str, Column] | None = None
    ) -> Condition:
        """What guidance contrasts the condition of the ``labels`` of ``batch`` samples with: nothing is told, or what
        ``away`` tells, and of the ``labels`` what must be."""
        return self.null(batch) if away is None else self(away)

    @torch.no_grad()
    def inherit(self, base: "Conditioner") -> None:
        """Start with the weights of ``base``, whose fields and classes are the first of this one's, in their order.

        What all of them ask for must give the same bits as there. Raises ``ValueError`` where a tensor finds no place.
        """
        if dict(self.fields) != dict(base.fields):
            raise ValueError(f"{type(self).__name__} cannot take on other fields or classes than its base's: it has no "
                             "inherit() that says how its tables grow")
        load_tensors(self, base.state_dict())

    def rows(self, field: str, classes: Sequence[str]) -> dict[str, list[int]]:
        """By name of a table (an ``nn.Embedding`` below this module): its rows that speak of these classes alone.

        What is learned for new classes (``lora=``) is theirs. Conditioners whose tables do not grow have none.
        """
        return {}

    @abstractmethod
    def hide(self, labels: dict[str, Column], u: Tensor) -> dict[str, Column]:
        """Labels as training sees them, some not told; ``u`` ``(B, 1 + fields)`` is uniform in (0, 1).

        Data workers call it: it asks no parameter."""

    def encoder(self) -> TextEncoder | None:
        """What reads its texts; None where no field is a text."""
        return None

    def check(self, labels: Mapping[str, Label]) -> None:
        """Raise ``ValueError`` for labels of a sample that cannot be told."""
        encode_labels(self.fields, [labels])


class Adapter(NamedTuple):
    """One modality, ready to train."""

    reader: Reader
    codec: Codec
    conditioner: Conditioner
    network: nn.Module
    """``network(x (B, C, *S), level (B,), cond, mask) -> (B, C, *S)``, zero at initialisation."""
    given: Given | None = None
    """Which positions training gives clean; needs a network that takes a level ``(B, T)`` for each position."""
    coupling: Coupling | None = None
    """How training pairs the points of a set with those of its noise; None = as they come."""
    controls: Mapping[str, Control] = MappingProxyType({})
    """The maps that samples can be told to follow, by name; needs a network that takes ``concat_channels``."""

    @property
    def gives(self) -> Given | None:
        """``given``, where it ever gives something."""
        return None if self.given is None or self.given.probabilities[0] == 1 else self.given

    def check(self) -> None:
        """Raise ``ValueError`` for parts that do not go together."""
        learned = self.codec.modality is not self.codec
        if self.coupling is not None and self.coupling.kind != "independent":
            if self.gives is not None:
                raise ValueError("adapter.given gives the first points of a set, adapter.coupling reorders it: use one")
            if learned:
                raise ValueError("adapter.coupling pairs points with their noise where points are latents themselves, "
                                 f"and {type(self.codec).__name__} has others: leave it independent")
        network, codec = type(self.network).__name__, type(self.codec).__name__
        if self.codec.ordered and not self.network.ordered:
            raise ValueError(f"{network} sees a set, and each latent of {codec} has a place of its own: choose a "
                             "network that tells them apart, such as that of adapter=points_latent")
        if self.network.ordered and not self.codec.ordered:
            raise ValueError(f"{network} tells positions apart, and the order of what {codec} has says nothing: name a "
                             "learned codec by codec=RUN, or choose a network of sets, such as that of adapter=points")
        for name, control in self.controls.items():
            self.codec.check_map(name, type(control))
