"""An adapter on trial: composed as ``mmdiff train adapter=NAME`` does, built and fitted on a few samples, each part
when it is first needed."""

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from ..adapters.base import Codec, Reader
from ..config.adapter import build_codec, build_learner, resolve_codec, resolve_files
from ..config.build import build
from ..config.files import resolved
from ..config.overrides import composed
from ..core.guidance import Guidance
from ..core.samplers import Auto
from ..core.types import Condition, Masked
from ..data.batch import Batch
from ..data.dataset import Dataset, Subset, spread
from ..data.labels import encode_labels
from ..data.loaders import Loading, samples, train_loader
from ..data.stream import Stream
from ..model import DiffusionModel
from ..store import fill, generating, model_config
from .compare import double

SETTINGS = (
    "loader.batch_size=4", "loader.limit=64", "loader.val=0", "trainer=cpu", "trainer.max_steps=2", "preview.n=0",
    "checkpoint.every=0", "log.every=1", "logger=csv",
)


class Trial:
    """``adapter`` is an option's name; ``overrides`` change its configuration; ``folder`` is for files."""

    def __init__(self, adapter: str, overrides: Sequence[str], folder: Path):
        self.adapter, self.folder = adapter, folder
        self.notes: list[str] = []
        overridden = {override.lstrip("+").partition("=")[0] for override in overrides}
        settings = [setting for setting in SETTINGS if setting.partition("=")[0] not in overridden]
        self.arguments = [f"adapter={adapter}", *settings, *overrides]

    def note(self, text: str) -> None:
        """Something measured, for the report."""
        self.notes.append(text)

    @cached_property
    def config(self) -> DictConfig:
        """The training configuration, resolved."""
        config = composed("train", [f"run={self.folder / 'run'}", *self.arguments])
        return resolve_files(resolved(config))

    @cached_property
    def _opened(self) -> tuple[Codec, Reader, Dataset]:
        torch.manual_seed(self.config.seed)
        codec, reader = build_codec(self.config.adapter)
        dataset = build(self.config.data, Dataset, reader=reader)
        codec, reader = resolve_codec(self.config.adapter, codec, reader, dataset.inferred)
        fill(codec, self.config)
        return codec, reader, dataset

    @property
    def reader(self) -> Reader:
        """Files to samples."""
        return self._opened[1]

    @cached_property
    def codec(self) -> Codec:
        """The codec, fitted."""
        codec = self._opened[0]
        codec.fit(samples(self.dataset))
        return codec.requires_grad_(False)

    @cached_property
    def dataset(self) -> Dataset:
        """Some training samples."""
        dataset = self._opened[2]
        return Subset(dataset, spread(len(dataset), self.config.loader.limit))

    @cached_property
    def model(self) -> DiffusionModel:
        """The model as it is before the first step."""
        codec, fields = self.codec, self.dataset.fields
        torch.manual_seed(self.config.seed)
        return generating(build_learner(self.config, codec, self.reader, fields=fields), self.folder)

    @cached_property
    def awake(self) -> DiffusionModel:
        """The model with no parameter that learns left at zero, as training leaves it."""
        model, generator = copy.deepcopy(self.model).eval(), torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.trainable.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        return model

    @cached_property
    def network(self) -> nn.Module:
        """Its network, in float64."""
        return copy.deepcopy(self.awake.denoiser.network).double()

    @cached_property
    def stored(self) -> dict[str, Any]:
        """The configuration that a model file would carry."""
        return model_config(self.config, self.codec, self.dataset)

    @property
    def samples(self) -> list[Tensor]:
        """Two samples ``(C, *S)``, the second shorter along the first axis that is longer than 1."""
        first, second = (self.dataset.read(i)[0] for i in range(2))
        axis = next((i for i, n in enumerate(second.shape) if i and n > 1), 1)
        return [first, second.narrow(axis, 0, -(-3 * second.shape[axis] // 5)).contiguous()]

    def batch(self) -> Batch:
        """The first training batch."""
        return next(iter(train_loader(self.dataset, self.order(), draw=self.model.draw)))

    def order(self) -> Stream:
        """The training stream."""
        return build(self.config.loader, Loading).order(self.dataset, seed=self.config.seed, steps=2)

    def encoded(self, sample: Tensor) -> Tensor:
        """The latent ``(1, C, *S)`` of one sample."""
        return self.codec.encode(Masked(sample[None])).x

    def inputs(self) -> tuple[Tensor, Tensor, Condition]:
        """Two latents, noise levels and conditions in float64."""
        latent, generator = self.encoded(self.samples[0]).double(), torch.Generator().manual_seed(0)
        x = latent + torch.randn(2, *latent.shape[1:], generator=generator, dtype=torch.float64)
        rows = [self.dataset.read(i)[1] for i in range(2)]
        cond = self.awake.conditioner(encode_labels(self.dataset.fields, rows))
        return x, torch.tensor([0.3, 0.8], dtype=torch.float64), double(cond)

    def generated(self, model: DiffusionModel, seeds: Sequence[int]) -> list[Tensor]:
        """Samples of a model for the labels of the first one, one a seed."""
        row, shape = self.dataset.read(0)[1], model.codec.latent_shape(**self.stored["size"])
        guidance = build(self.config.guidance, Guidance)
        latents = model.latents([row] * len(seeds), list(seeds), shape, sampler=Auto(2), guidance=guidance)
        # a network that was not trained may put out more than any codec decodes, as where noise is predicted
        deviation = latents.flatten(1).std(1).clamp(min=1)
        return model.decoded(latents / deviation.view(-1, *[1] * (latents.ndim - 1)))
