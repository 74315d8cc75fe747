"""A codec under training: samples through encoder, bottleneck and decoder, and how far they come back from themselves.

    x = base(sample);   z, penalty = bottleneck(encoder(x), eps);   y = decoder(z)
    loss = sum_i weight_i term_i(y, x) + mean penalty + what an adversary says of y      eps keyed by (seed, draw)

What is saved is the codec alone, ready for ``codec=`` of a diffusion run: nothing of its loss is.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .adapters.adversary import Adversary
from .adapters.autoencoder import Autoencoder
from .adapters.base import Codec
from .adapters.latents import LatentTask
from .adapters.reconstruction import ReconstructionLoss, mean
from .core.rng import Purpose, normal_at
from .core.types import Masked
from .data.batch import Batch, Draw
from .data.labels import Label, title
from .data.reader import Reader
from .learner import Example, KeyedDraw, Learner, largest, latent_extents


@dataclass(frozen=True)
class LatentDraw(KeyedDraw):
    """``eps`` ``(B, count, C, *S)``, like ``count`` latents each."""

    codec: Codec
    count: int
    purpose: Purpose

    def __call__(self, batch: Batch, seed: int, *, batch_size: int) -> Batch:
        extents = latent_extents(self.codec, batch)
        shape = (len(batch.draws), self.codec.channels, *largest(extents))
        eps = [normal_at(seed, batch.draws, self.purpose, shape, extents, part) for part in range(self.count)]
        return batch._replace(random={"eps": torch.stack(eps, 1)})


class CodecModel(Learner):
    """A codec that learns to give back what it was given: ``losses`` are the terms, by the names they have in logs;
    ``latent`` is what is asked of its latents besides, and ``adversary`` what learns against it."""

    holds = "codec"
    use = "train on its latents with: mmdiff train codec={run} adapter=... (mmdiff eval {run} says what it loses)"

    def __init__(
        self, codec: Codec, reader: Reader, *, losses: Mapping[str, ReconstructionLoss | None],
        latent: Mapping[str, LatentTask | None] | None = None, adversary: Adversary | None = None,
    ):
        super().__init__()
        if not isinstance(codec, Autoencoder):
            raise ValueError(f"a codec is trained where adapter.codec is an Autoencoder: {type(codec).__name__} has "
                             "nothing to learn")
        self.compared = {name: loss for name, loss in losses.items() if loss is not None}
        if not self.compared:
            raise ValueError("losses needs at least one term, such as mmdiff.adapters.reconstruction.Absolute")
        self.codec: Autoencoder = codec
        for loss in self.compared.values():
            loss.check(len(codec.coder.stride))
        codec.base.requires_grad_(False)
        self.asked = nn.ModuleDict({name: task for name, task in (latent or {}).items() if task is not None})
        for task in self._tasks():
            task.make(codec.channels, codec.coder)
        if adversary is not None:
            if not codec.coder.stride:
                raise ValueError("an adversary looks at grids, such as sounds and films, and these are sets of points")
            adversary.make(codec.base.channels, len(codec.coder.stride))
        self.reader, self.adversary = reader, adversary
        self.validated = ("loss", *self.compared, *self.asked, "penalty")
        self.train()

    def train(self, mode: bool = True) -> "CodecModel":
        super().train(mode)
        self.codec.base.eval()
        return self

    @property
    def trainable(self) -> nn.ModuleDict:
        coder = self.codec.coder
        learn = {f"latent_{name}": task for name, task in self.asked.items() if [*task.parameters()]}
        return nn.ModuleDict({"encoder": coder.encoder, "decoder": coder.decoder, **learn})

    def replaced(self, trainable: nn.ModuleDict) -> "CodecModel":
        model, codec, coder = copy.copy(self), copy.copy(self.codec), copy.copy(self.codec.coder)
        for part in (model, codec, coder):
            part._modules = dict(part._modules)
        coder.encoder, coder.decoder = trainable["encoder"], trainable["decoder"]
        codec.coder, model.codec = coder, codec
        learnt = dict(trainable.items())
        model.asked = nn.ModuleDict({name: learnt.get(f"latent_{name}", task) for name, task in self.asked.items()})
        return model

    def open(self) -> None:
        for part in self._terms_asked():
            part.open(self.codec.base)

    def get_extra_state(self) -> Tensor:
        """The hashes of the files that its terms learn through, for checkpoints."""
        return torch.frombuffer(bytearray.fromhex("".join(part.digest for part in self._terms_asked()) or "00"),
                                dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Raises ``ValueError`` where they are others now: it would go on to learn something else."""
        if not torch.equal(state.cpu(), self.get_extra_state()):
            raise ValueError("an embedder that this run learns through (reconstruction.losses, reconstruction.latent) "
                             "is not the one that it began with: bring that back, or begin another run with run=")

    def _terms_asked(self) -> list[ReconstructionLoss | LatentTask]:
        return [*self.compared.values(), *self._tasks()]

    def _tasks(self) -> list[LatentTask]:
        return [task for task in self.asked.values() if isinstance(task, LatentTask)]

    @property
    def network(self) -> nn.Module:
        return self.trainable

    @property
    def against(self) -> Adversary | None:
        return self.adversary

    @property
    def stored(self) -> nn.Module:
        return nn.ModuleDict({"codec": self.codec})

    def loss(self, batch: Batch, seed: int, *, batch_size: int | None = None) -> Tensor:
        return self.losses(batch, seed, batch_size=batch_size)[0]

    @property
    def draw(self) -> Draw:
        """Noise of latents: the bottleneck's, and that of each of ``latent``."""
        return LatentDraw(self.codec, 1 + len(self.asked), Purpose.NOISE)

    def losses(self, batch: Batch, seed: int, *, batch_size: int | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        if batch.random is None:
            batch = self.draw(batch, seed, batch_size=batch_size or len(batch.draws))
        terms, output, real = self._terms(batch)
        if self.adversary is None:
            return terms[:, 0], {}
        with torch.autocast(real.x.device.type, enabled=False):
            critic, accuracy = self.adversary.critic_loss(output, real)
            generator = self.adversary.generator_loss(output, batch.draws)
        return terms[:, 0] + generator, {
            "critic_loss": critic, "critic_accuracy": accuracy, "generator_loss": generator.detach(),
        }

    @torch.no_grad()
    def validation_loss(self, batch: Batch) -> Tensor:
        draw = LatentDraw(self.codec, 1 + len(self.asked), Purpose.VALIDATION)
        return self._terms(draw(batch, 0, batch_size=len(batch.draws)))[0]

    def _terms(self, batch: Batch) -> tuple[Tensor, Masked, Masked]:
        """``(B, len(validated))``: the loss, its terms and the penalty; and what was decoded, of what."""
        assert batch.random is not None
        x = self.codec.base.features(batch.samples)
        h, mask = self.codec.coder.encode(x)
        noise = batch.random["eps"].to(h.device).unbind(1)
        z, numbers = self.codec.bottleneck.drawn(h, noise[0])
        y, penalty = self._decoded(Masked(z, mask), x), mean(numbers, mask)
        terms = [self._apart(y, x, name) for name in self.compared]
        for task, eps in zip(self._tasks(), noise[1:], strict=True):
            terms.append(self._asked_of(task, Masked(z, mask), x, eps))
        weights = [part.weight for part in self._terms_asked()]
        total = penalty + sum(weight * term for weight, term in zip(weights, terms, strict=True))
        return torch.stack([total, *terms, penalty], 1), y, x

    def _decoded(self, z: Masked, x: Masked) -> Masked:
        """What is decoded of latents ``z``, of the size of samples ``x``, in float32."""
        return Masked(self.codec.coder.decode(z, x.x.shape[2:]).x.float(), x.mask)

    def _apart(self, y: Masked, x: Masked, name: str) -> Tensor:
        with torch.autocast(x.x.device.type, enabled=False):
            return self.compared[name](y, x)

    def _asked_of(self, task: LatentTask, z: Masked, x: Masked, eps: Tensor) -> Tensor:
        if x.mask is not None:
            raise ValueError("what is asked of latents (reconstruction/latent) is of batches of one size: crop samples "
                             "to one, or use buckets")
        return task(z.x, x.x, eps, self._weighted)

    def _weighted(self, z: Tensor, x: Tensor) -> Tensor:
        """``(B,)``: how far what is decoded of latents ``z`` is from samples ``x``, by the terms of the loss."""
        real = Masked(x)
        output = self._decoded(Masked(z), real)
        return torch.stack([
            loss.weight * self._apart(output, real, name) for name, loss in self.compared.items()
        ]).sum(0)

    @torch.no_grad()
    def preview(
        self, samples: Sequence[Tensor], labels: Sequence[Mapping[str, Label]], size: Mapping[str, float], *,
        encoded: bool, beside: Sequence[Mapping[str, Tensor | None]] = (),
    ) -> list[Example]:
        """Each sample, and beside it what comes back."""
        found: list[Example] = []
        for sample, row in zip(samples, labels, strict=True):
            found += [(f"real {title(row)}".strip(), sample), ("decoded", self.round_trip(sample))]
        return found

    def round_trip(self, sample: Tensor) -> Tensor:
        """What comes back of a sample ``(C, *S)``, of its size, on the CPU."""
        latents = self.codec.encode(Masked(sample[None].to(self.device)))
        output = self.codec.decode_sized(latents, **self.codec.size(sample)).x[0]
        return self.codec.finished(output.float().cpu())[0]
