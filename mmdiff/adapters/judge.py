"""What a modality adds to an evaluation: its own statistics, errors and faults.

    values    one number a sample, compared with the reference as distributions (W1) and shown as a mean
    shares    what is true or false of a sample, shown as a share
    errors    one number a sample against the labels that were asked for
    paired    one number a sample against the real sample it was made from
    between   a number for two sets, from what was measured of each
    faults    real samples made wrong in one way each: what a metric has to see
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..data.labels import Label
from ..metrics.sets import Distances

WIDTH = 128
"""Features of an embedder's body."""

Rows = Sequence[Mapping[str, Label]]
Between = Callable[[Tensor, Tensor], float]


class Judge(ABC):
    """Samples ``(N, C, *S)`` of one size, or brought to one where they have their own."""

    native_sizes: bool = False
    """Whether samples differ in size by nature: each is then generated with the size of the real one beside it."""
    shifts: int = 0
    """Positions of the last axis by which a training sample may be moved and still be copied."""
    name: str
    """Of what it judges; ``NAME_v1`` is the protocol that is taken unless one is named."""
    suffix: str | None = None
    """Ending of files that hold a sample without loss; None for the codec's own."""
    better: Mapping[str, int] = {}
    """+1 where more is better, -1 where less is; the metrics that are not named should be those of real samples."""

    preprocessor: str | None = None
    """The class of transformers that prepares samples for its networks; None where none of them judges such samples."""

    def body(self, **settings: int) -> "Body":
        """The network that learns to judge, for these ``settings``. Raises ``ValueError`` where there is none."""
        raise ValueError(
            f"there is no network here that learns to judge {self.name}: name a file, evaluation.embedder=FILE"
        )

    def prepared(self, x: Tensor, prepare: Any, model: Any, **settings: int) -> Any:
        """Samples as a network of transformers takes them; ``prepare`` is an object of ``preprocessor``."""
        raise ValueError(f"a folder of transformers does not judge {self.name}")

    @abstractmethod
    def settings(self, codec: Any) -> dict[str, int]:
        """What an embedder has to know of the samples."""

    @abstractmethod
    def stacked(self, samples: Sequence[Tensor], codec: Any, size: Mapping[str, float]) -> Tensor:
        """Samples ``(C, *S)`` brought to one size: ``(N, C, *S)``."""

    def parted(self, x: Tensor) -> list[Tensor]:
        """The samples of ``stacked`` again, those of their own sizes without what was put behind them."""
        return list(x)

    def known(self, training: Iterable[Tensor], codec: Any) -> Any:
        """What of all training samples tells whether another is new, for ``shares``; they are read as this asks."""
        return None

    @abstractmethod
    def latents(self, x: Tensor, codec: Any) -> Tensor:
        """Where the nearest training sample is looked for: ``(N, ...)``."""

    @abstractmethod
    def values(self, x: Tensor, codec: Any) -> dict[str, Tensor]:
        """Statistics ``(N,)``, NaN where there is none."""

    def fractions(self, x: Tensor, codec: Any, known: Any) -> dict[str, Tensor]:
        """Truth values ``(N,)``; ``known`` is that of the training set, None where there is none."""
        return {}

    def errors(self, x: Tensor, labels: Rows, codec: Any) -> dict[str, Tensor]:
        """Errors ``(N,)`` against what was asked for, NaN where nothing can be said."""
        return {}

    def paired(self, x: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Distances ``(N,)`` of each sample to the real one that it should be."""
        return {}

    def continued(self, given: Tensor, length: int) -> dict[str, Tensor]:
        """What may follow the first positions ``given`` ``(N, C, T, ...)`` of samples without a model, by the name of
        the way it is found: ``(N, C, length, ...)``."""
        return {"last given position": given[:, :, -1:].repeat_interleave(length, 2)}

    def between(self, x: Tensor, codec: Any) -> dict[str, tuple[Tensor, Between]]:
        """Numbers for two sets, by name: what is measured of each sample ``(N, ...)``, and the number of two such."""
        return {}

    def matrices(self, x: Tensor, reference: Tensor) -> dict[str, Distances]:
        """Distances of two sets, by name, of which MMD, COV and 1-NNA are taken."""
        return {}

    @abstractmethod
    def faults(self, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Real samples made wrong, by the name of the fault."""


def activations(layers: nn.Sequential, x: Tensor) -> list[Tensor]:
    """What ``layers`` see of ``x`` after each nonlinearity."""
    found = []
    for layer in layers:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            found.append(x)
    return found


class Body(nn.Module, ABC):
    """Samples ``(B, C, *S)`` -> features ``(B, WIDTH)``."""

    looks_at_frames: bool = False
    """Whether ``frames`` gives features of each frame."""
    extra: int = 0
    """K of what features should tell besides the labels."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` -> ``(B, WIDTH)``."""

    def activations(self, x: Tensor) -> list[Tensor]:
        """What its layers see, each ``(B, C, ...)`` with places that are those of the sample: its features, unless it
        knows better."""
        return [self(x)]

    @abstractmethod
    def augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Samples as training sees them."""

    def measure(self, x: Tensor) -> None:
        """Take from training samples ``(N, C, *S)`` what is fixed before training, such as their scale."""

    def frames(self, x: Tensor) -> Tensor | None:
        """``(B, T, WIDTH)`` of each frame alone, where there are frames."""
        return None

    def seen(self, x: Tensor) -> Tensor | None:
        """``(B, K)``: what features should tell besides the labels, None for nothing."""
        return None
