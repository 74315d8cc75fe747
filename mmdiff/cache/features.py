"""Samples as the features of a codec, made anew at each read: what lets them be joined with cached latents."""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..adapters.base import Codec
from ..core.types import Masked
from ..data.batch import unpad
from ..data.dataset import Dataset, Subset
from ..data.labels import Label
from ..data.stream import Shape


class Featured(Subset):
    """The samples of a data set as features of a codec, with the random choices of their reader."""

    def __init__(self, dataset: Dataset, codec: Codec):
        super().__init__(dataset, range(len(dataset)))
        self.codec, self.encoded = copy.deepcopy(codec).cpu(), True   # a worker's, whatever device the model goes to

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        sample, labels = super().read(index, rng)
        return self._features(sample), labels

    def beside(
        self, index: int, rng: np.random.Generator | None = None, names: Sequence[str] | None = None
    ) -> Mapping[str, Tensor | None]:
        return {name: x if x is None else self._features(x) for name, x in super().beside(index, rng, names).items()}

    @torch.no_grad()
    def _features(self, sample: Tensor) -> Tensor:
        return unpad(self.codec.features(Masked(sample[None])))[0].float()

    def extent(self, index: int) -> Shape:
        return None
