"""A modality's parts and a formulation, joined: what is trained, saved and sampled. Usable without Lightning.

    loss:      labels -> hidden at random -> condition;   sample -> latent x0;   eps, t keyed by (seed, draw)
    generate:  x1 = hypot(alpha(1), sigma(1)) eps  ->  sampler over limited(guidance(denoiser, condition))  ->  decode

No x0 beyond the range of the training set is ever its mean: a prediction there is an error, and limited by the codec
(static thresholding, Saharia et al. 2022, section 2.3).
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from .adapters.base import Adapter, Conditioner
from .adapters.controls import MapSource, following, gathered, maps_of, sources
from .adapters.texts import TextEncoder
from .core.denoiser import Denoiser
from .core.editing import Inpaint, Windowed
from .core.guidance import Guidance, Unguided
from .core.jumps import JumpDenoiser, along
from .core.loss import DiffusionLoss
from .core.parameterizations import Parameterization
from .core.rng import Purpose, normal
from .core.samplers import Auto, Sampler
from .core.schedules import Schedule, Shifted
from .core.times import TimeDistribution
from .core.types import Condition, Denoise, Masked
from .core.weightings import Weighting
from .data.batch import Batch, Draw
from .data.labels import Column, Fields, Label, encode_labels, title, to_device
from .learner import Denoising, DenoisingDraw, Drawn, Example, Learner, Objective
from .marks.base import Mark, Source
from .marks.ledger import LedgerMark
from .nn.jumps import JumpEmbedding
from .nn.network import Network

QUANTILES = 8
"""Times at which the held-out loss is taken."""
LabelOrMap = Label | Tensor
"""What a sample is told of a field, or the map of a control."""


class DiffusionModel(Learner):
    """One modality under one formulation. ``shift`` multiplies sigma / alpha of the whole schedule; ``sampler`` and
    ``guidance`` make previews. With ``jumps``, the least and greatest guidance scale, it learns ``core.jumps``."""

    holds = "diffusion model"
    use = "generate with: mmdiff sample {run} n=8"
    validated = ("loss", *(f"loss_q{i}" for i in range(QUANTILES)))

    def __init__(
        self, adapter: Adapter, *, schedule: Schedule, parameterization: Parameterization,
        time: TimeDistribution | None = None, weight: Weighting | None = None, shift: float = 1.0,
        jumps: tuple[float, float] | None = None, sampler: Sampler | None = None, guidance: Guidance | None = None,
    ):
        super().__init__()
        adapter.check()
        self.sampler, self.guidance = sampler or Auto(), guidance or Unguided()
        self.reader, self.codec, self.conditioner = adapter.reader, adapter.codec, adapter.conditioner
        self.given = adapter.gives
        self.coupling, self.controls = adapter.coupling, dict(adapter.controls)
        schedule = schedule if shift == 1 else Shifted(schedule, shift)
        self.denoiser = Denoiser(adapter.network, schedule, parameterization)
        if jumps is not None:
            embedding = JumpEmbedding(self.conditioner.vector_dim or self.conditioner.dim)
            self.denoiser = JumpDenoiser(adapter.network, schedule, parameterization, embedding=embedding, scales=jumps)
        self.diffusion_loss = DiffusionLoss(time, weight)
        self.objective: Objective = Denoising()
        self.branch = False                                           # with it, no map is hidden in training
        self.codec.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "DiffusionModel":
        """As any module, except that frozen parts (the codec, and what holds no parameter that is trained) always work
        as they do in generation: their dropout and batch statistics are no part of training."""
        super().train(mode)
        self.codec.eval()
        for part in (*self.conditioner.modules(), *self.denoiser.modules()):
            trained = [p.requires_grad for p in part.parameters()]
            if trained and not any(trained):
                part.eval()
        return self

    @property
    def trainable(self) -> nn.ModuleDict:
        jumps = {} if self.jumps is None else {"jumps": self.jumps}
        return nn.ModuleDict({"network": self.denoiser.network, "conditioner": self.conditioner, **jumps})

    def replaced(self, trainable: nn.ModuleDict) -> "DiffusionModel":
        model, denoiser = copy.copy(self), copy.copy(self.denoiser)
        model._modules, denoiser._modules = dict(self._modules), dict(self.denoiser._modules)
        denoiser.network, conditioner = trainable["network"], trainable["conditioner"]
        model.conditioner = cast(Conditioner, conditioner)
        if "jumps" in trainable:
            denoiser.embedding = trainable["jumps"]
        model.denoiser = denoiser
        return model

    @property
    def network(self) -> Network:
        """The network alone."""
        return cast(Network, self.denoiser.network)

    @property
    def jumps(self) -> JumpEmbedding | None:
        """What tells the network of jumps, where it learns them."""
        return cast(JumpEmbedding, self.denoiser.embedding) if isinstance(self.denoiser, JumpDenoiser) else None

    @property
    def fields(self) -> Fields:
        return self.conditioner.fields

    def encoder(self) -> TextEncoder | None:
        return self.conditioner.encoder()

    @property
    def device(self) -> torch.device:
        return next(self.denoiser.parameters()).device

    def measure(self, samples: Iterable[Masked], *, encoded: bool) -> None:
        """Measure the whitening."""
        (self.codec.measure if encoded else self.codec.fit)(samples)

    def loss(self, batch: Batch, seed: int, *, batch_size: int | None = None) -> Tensor:
        """Training loss per sample ``(B,)``; noise, time and hidden labels are fixed by (seed, draw).

        ``batch_size`` is the number of draws of one optimizer step, of which stratified times take one each.
        """
        if batch.random is None:
            batch = self.draw(batch, seed, batch_size=batch_size or len(batch.draws))
        return self.objective.loss(self, batch)

    @property
    def draw(self) -> Draw:
        """Noise, times, hidden labels and what else the objective needs."""
        return self.objective.draw(self)

    @property
    def denoising_draw(self) -> Draw:
        """What is random in denoising."""
        return DenoisingDraw(self.codec, self.conditioner, self.denoiser.schedule, self.diffusion_loss.time, self.given,
                             self.coupling, len(self.controls), all_maps=self.branch)

    def drawn(self, batch: Batch) -> Drawn:
        """What one step learns of a batch with all that is random in it."""
        assert batch.random is not None
        features, x0 = self._encoded(batch.samples, encoded=batch.encoded)
        self.network.check_shape(x0.x.shape[2:])
        eps, t, kept = (batch.random[name].to(x0.x.device) for name in ("eps", "t", "kept"))
        beside, kept = sources(self.controls, batch, kept, self._encoded)
        return Drawn(features, x0, eps, t, batch.labels, kept, batch.extents, beside)

    def drawn_condition(self, drawn: Drawn) -> Condition:
        """The condition of what was drawn."""
        cond = self.conditioner(drawn.labels)
        source = MapSource(drawn.features, drawn.x0)
        return following(cond, self.controls, source, drawn.beside, drawn.kept, drawn.extents)

    @torch.no_grad()
    def validation_loss(self, batch: Batch) -> Tensor:
        """The mean of the losses from little noise to much, and each. Noise is fixed by draws."""
        found = self.objective.validation_loss(self, batch, QUANTILES)
        return torch.cat([found.mean(1, keepdim=True), found], 1)

    def held_out(self, batch: Batch) -> Drawn:
        """A batch with all its labels, its noise fixed by the draw alone; its time is left at 1."""
        features, x0 = self._encoded(batch.samples, encoded=batch.encoded)
        eps = normal(0, batch.draws, Purpose.VALIDATION, x0)
        kept = torch.ones(len(batch.draws), len(self.controls), dtype=torch.bool, device=eps.device)
        beside, kept = sources(self.controls, batch, kept, self._encoded)
        return Drawn(features, x0, eps, torch.ones(len(eps), device=eps.device), batch.labels, kept, beside=beside)

    @torch.no_grad()
    def preview(
        self, samples: Sequence[Tensor], labels: Sequence[Mapping[str, Label]], size: Mapping[str, float], *,
        encoded: bool, beside: Sequence[Mapping[str, Tensor | None]] = (),
    ) -> list[Example]:
        """Generated samples with the labels of those, by the model's own sampler and guidance; where it follows maps,
        each with those of the sample that stands before it, and of its size."""
        guidance = Unguided() if self.lacks_null(self.guidance) else self.guidance
        make = partial(self.latents, sampler=self.sampler, guidance=guidance)
        if not self.controls:
            samples = self.decoded(make(labels, range(len(labels)), self.codec.latent_shape(**size)), **size)
            return [(title(row), sample) for row, sample in zip(labels, samples, strict=True)]
        found: list[Example] = []
        for seed, (row, sample) in enumerate(zip(labels, samples, strict=True)):
            maps = self.maps_of(sample, beside[seed] if beside else {}, encoded=encoded)
            x0 = self._encoded(Masked(sample[None].to(self.device)), encoded=encoded).latents.x
            latents = make([{**row, **maps}], [seed], x0.shape[2:])
            found += [("followed", self.decoded(x0)[0]), (title(row), self.decoded(latents)[0])]
        return found

    def lacks_null(self, guidance: Guidance) -> bool:
        """Whether a guidance contrasts with what training never had: samples of which nothing was told."""
        return guidance.uses_null and guidance.scale != 1 and self.conditioner.dropped == 0

    @torch.no_grad()
    def _encoded(self, samples: Masked, *, encoded: bool) -> MapSource:
        """Features and latents of samples, or of features that are ``encoded`` already."""
        with torch.autocast(samples.x.device.type, enabled=False):                # the bits that a cache of them has
            features = samples if encoded else self.codec.features(samples)
            return MapSource(features, self.codec.whiten(features))

    @torch.no_grad()
    def map_of(self, name: str, sample: Tensor, *, encoded: bool = False) -> Tensor:
        """The map ``(width, *S)`` that a control makes of a sample ``(C, *S)``, as in training."""
        return maps_of(self.controls[name], *self._encoded(Masked(sample[None].to(self.device)), encoded=encoded))[0]

    def maps_of(
        self, sample: Tensor, beside: Mapping[str, Tensor | None], *, encoded: bool = False
    ) -> dict[str, Tensor]:
        """The maps of a sample: of what lies ``beside`` it for them, the others of itself."""
        found = {name: beside.get(name, sample) for name in self.controls}
        return {name: self.map_of(name, x, encoded=encoded) for name, x in found.items() if x is not None}

    @property
    def askable(self) -> list[str]:
        """The names of all that can be told: label fields and maps."""
        return [*self.conditioner.fields, *self.controls]

    def condition(self, rows: Sequence[Mapping[str, LabelOrMap]]) -> Condition:
        """The condition of B rows of labels and maps ``(C', *S)``; what a row leaves out is not told."""
        cond = self.conditioner(self._labels(rows))
        maps = gathered(self.controls, rows, self.device)
        return cond if maps is None else cond._replace(concat=maps)

    def contrast(
        self, rows: Sequence[Mapping[str, LabelOrMap]], away: Sequence[Mapping[str, Label]] | None = None
    ) -> Condition:
        """The condition that guidance contrasts that of B ``rows`` with: B rows of labels to keep ``away`` from, or
        nothing told, and of the ``rows`` what must be told."""
        other = None if away is None else self._labels(away)
        return self.conditioner.contrast(self._labels(rows), len(rows), other)

    def _labels(self, rows: Sequence[Mapping[str, LabelOrMap]]) -> dict[str, Column]:
        labels = [{name: cast(Label, v) for name, v in row.items() if name not in self.controls} for row in rows]
        return to_device(encode_labels(self.conditioner.fields, labels), self.device)

    def decoded(self, latents: Tensor, **size: float) -> list[Tensor]:
        """Samples ``(C, *S)`` on the CPU, of a ``size`` where one is named."""
        return [sample for sample, _ in self.finished(latents, **size)]

    def finished(self, latents: Tensor, **size: float) -> list[tuple[Tensor, dict[str, float]]]:
        """Samples on the CPU, each with what the codec had to change of it."""
        with torch.autocast(latents.device.type, enabled=False):
            decoded = self.codec.decode_sized(Masked(latents), **size) if size else self.codec.decode(Masked(latents))
        return [self.codec.finished(sample) for sample in decoded.x.float().cpu()]

    @property
    def source(self) -> Source:
        """What marks see of the model: a denoiser of samples of which nothing is told."""

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return self.codec.limited(self.denoiser(x_t, t, self.conditioner.null(len(x_t))))

        return Source(self.codec, self.denoiser.schedule, denoise, self.device)

    @torch.no_grad()
    def latents(
        self, labels: Sequence[Mapping[str, LabelOrMap]], seeds: Sequence[int], shape: Sequence[int], *,
        sampler: Sampler | None = None, guidance: Guidance | None = None, known: Masked | None = None,
        window: int | None = None, overlap: int = 0, draw: int = 0, progress: Callable[[int], None] | None = None,
        negative: Sequence[Mapping[str, Label]] = (), mark: Mark | None = None,
    ) -> Tensor:
        """Latents ``(B, C, *shape)``, one for each row of labels; ``codec.latent_shape`` gives the shape of a size.

        All that is random in sample i is fixed by ``seeds[i]``; ``draw`` numbers several for one seed. ``known``
        ``(B, C, *shape)`` is kept where its mask is True. More than ``window`` positions of the first axis are made in
        windows that share ``overlap`` of them. ``negative`` has a row of labels for each sample, or none at all:
        guidance leads away from them. A row of labels has the map ``(C', *shape)`` of a control under its name.
        ``mark`` may choose the noise and change what is made, but nothing that is known.

        Raises ``ValueError`` for a sampler that adds noise where points were paired with theirs in training: what is
        between noise and data is then another distribution than the one such samplers keep to.
        """
        self.network.check_shape([window or shape[0], *shape[1:]])
        sampler, guidance = sampler or Auto(), guidance or Unguided()
        like = Masked(torch.empty(len(labels), self.codec.channels, *shape, device=self.device))
        draws = torch.full((len(labels),), draw)

        def noise(part: int, purpose: Purpose = Purpose.INJECT) -> Tensor:
            if purpose is Purpose.INJECT and self.coupling is not None and self.coupling.kind != "independent":
                raise ValueError(
                    f"{type(sampler).__name__} adds noise, and this model learned from points that were paired with "
                    f"theirs (adapter.coupling.kind={self.coupling.kind}): take a deterministic sampler, such as auto"
                )
            return normal(list(seeds), draws, purpose, like, part)

        if any(negative) and (not guidance.uses_null or guidance.scale == 1):
            raise ValueError("negative labels act through guidance that contrasts with them, such as guidance=cfg of "
                             f"a scale other than 1; got {type(guidance).__name__} of scale {guidance.scale:g}")
        cond = self.condition(labels)
        null = self.contrast(labels, negative if any(negative) else None)
        guidance = guidance.bind(labels, self, negative if any(negative) else ())
        guide = partial(guidance, along(self.denoiser, sampler.ends(self.denoiser.schedule)), cond, null=null)

        def bind() -> Denoise:
            denoise = guide()
            return lambda x_t, t: self.codec.limited(denoise(x_t, t))

        denoise = bind() if window is None else Windowed(bind, size=window, overlap=overlap)
        if known is not None and known.mask is not None:
            denoise = Inpaint(denoise, known.x, known.mask, clean=self.given is not None)
        end = self.denoiser.schedule.level(torch.ones((), dtype=torch.float64))
        start, mark = noise(0, Purpose.START), mark or LedgerMark()
        x1 = float(torch.hypot(*end)) * mark.embed_noise(start, list(seeds), draw)
        x0 = sampler(denoise, x1, self.denoiser.schedule, noise, progress)
        limited = self.codec.limited(x0)                              # a sampler that extrapolates goes a little beyond
        limited = mark.embed_latent(limited, list(seeds), draw)
        return limited if known is None or known.mask is None else torch.where(known.mask, x0, limited)
