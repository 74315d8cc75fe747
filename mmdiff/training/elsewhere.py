"""What a run will take on devices that are not here: nothing is computed, and no weights are allocated or read.

    fixed     = weights + gradients + moments + averages + computed weights,  over the devices where training is sharded
    memory    <= fixed + batch x activations of a sample,                     see ``mmdiff.training.traced``
    seconds   = max(FLOP / (devices x peak x utilisation),  bytes sent / link)               a step, overlapped
    sent      = 2 (n - 1) / n x gradients  (all-reduce),  or 3 (n - 1) / n x weights  (two gathers and a scatter)
    offload   : weights of three blocks instead of all,  and twice their bytes from the host in each pass

Of a public model the files of settings are enough, and where no data are named a sample is of the size that its reader
reads. Data, validation, previews and the codec are left out: ``mmdiff plan`` measures them where it runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ..adapters.base import Adapter, Codec, Conditioner, Reader
from ..adapters.pretrained import Pretrained
from ..adapters.public import by_settings
from ..cache.latents import Latents
from ..config.adapter import build_adapter, build_codec, is_conditional, learner_of, resolve_codec, resolve_files
from ..config.build import TARGET, ConfigError, build, target_class
from ..config.files import literal, resolved
from ..data.dataset import Dataset
from ..data.labels import Fields
from ..data.loaders import Loading
from ..model import DiffusionModel
from ..nn.offload import frozen_places
from ..store import generating
from .adopting import read_size
from .base import Base, pretrained
from .blocks import prepare
from .learning import learn
from .optim import Recipe
from .traced import Trace, Unread, step, traced
from .trainer import ACCUMULATE

GB, HOUR = 1e9, 3600.0
HOST = 20e9
"""Bytes a second from the host's memory to a device, as over 16 lanes of PCIe 4."""
RESERVED = 0.9
"""Share of a device's memory that is taken to be there for tensors."""


@dataclass(frozen=True)
class Device:
    """One accelerator; see ``configs/accelerator``. Without its speed (``tflops_16`` 0) seconds are not known."""

    name: str
    memory_gb: float
    tflops_16: float = 0.0
    tflops_32: float = 0.0
    link_gb: float = 0.0


class Estimate(NamedTuple):
    """Counts and bytes of the whole model; ``flop`` and ``activations`` of one sample."""

    parameters: int
    weights: int
    learned: int
    """Bytes of the weights that learn, in float32, as their gradients."""
    moments: int
    averages: int
    computed: int
    """Bytes of what is computed from weights, such as changed ones, while activations are kept."""
    flop: int
    activations: int
    recomputed: int | None
    """Activations where every block is computed again; None where a network has no blocks."""
    again: int
    """FLOP of a sample then, those that are done twice counted twice."""
    half: bool
    """Whether the network computes in 16 bits."""
    beside: Mapping[str, int]
    """Bytes of frozen parts that are loaded only where latents, or the states of texts, are not kept."""
    blocks: Sequence[int] = ()
    """Bytes of the weights of each block that are a public model's."""

    @property
    def fixed(self) -> int:
        """Bytes whatever the batch."""
        return self.weights + self.learned + self.moments + self.averages + self.computed

    @property
    def elsewhere(self) -> int:
        """Bytes of those that ``offload`` keeps on the host: all but of three blocks."""
        return sum(self.blocks) - 3 * max(self.blocks, default=0)


class Costs(NamedTuple):
    """A run on devices; bytes and batches of one device, seconds of a step."""

    device: Device
    devices: int
    batch: float
    memory: float
    largest: int
    largest_recomputed: int
    sent: float
    flop: float
    seconds: float
    days: float
    hours: float
    """Of all devices together."""


def estimate(config: DictConfig, size: Mapping[str, float] | None = None) -> Estimate:
    """What the run of a training configuration consists of, with samples of ``size`` (None: the largest of the data).
    Raises ``ConfigError`` where it cannot be known so."""
    if not is_conditional(config):
        raise ConfigError("plan.device is of diffusion models; a codec is planned where it is trained, by mmdiff plan")
    config, hollow = resolve_files(resolved(config)), FakeTensorMode()
    with by_settings():
        codec, reader = build_codec(config.adapter)
    codec, reader, shape, fields = _learned_from(config, codec, reader, size)
    recipe, half = build(config.optim, Recipe), "16" in str(config.trainer.get("precision") or "")
    try:
        with hollow:
            adapter = build_adapter(config.adapter, codec, reader, fields=fields)
            beside = _beside(adapter)
        model = generating(learner_of(config, adapter=adapter), "plan.device")
        _learn(model, config)
        with hollow:
            return _traced(model, recipe, shape, half=half, tracks=len(config.ema), beside=beside)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise ConfigError(f"this network is not traced without its weights, so mmdiff plan has to try it here: {error}"
                          ) from error


def costs(
    found: Estimate, config: DictConfig, device: Device, *, devices: int, trainer: Literal["ddp", "fsdp"],
    utilisation: float,
) -> Costs:
    """That run on a number of devices."""
    parts = devices if trainer == "fsdp" else 1
    passes = config.trainer.get(ACCUMULATE, 1)
    batch = build(config.loader, Loading).batch_size
    fixed = found.fixed / parts - (max(0, found.elsewhere) if config.offload else 0)
    local, room = batch / devices / passes, RESERVED * device.memory_gb * GB - fixed
    activations = found.recomputed if config.recompute and found.recomputed is not None else found.activations
    sent = (devices - 1) / devices * (3 * found.weights * passes if trainer == "fsdp" else 2 * found.learned)
    flop = batch * (found.again if config.recompute else found.flop)
    peak = 1e12 * (device.tflops_16 if found.half else device.tflops_32)
    seconds = flop / (devices * peak * utilisation) if peak else float("nan")
    seconds = max(seconds, sent / (device.link_gb * GB)) if device.link_gb else seconds
    seconds = max(seconds, 2 * passes * sum(found.blocks) / HOST) if config.offload else seconds
    hours = seconds * config.trainer.max_steps / HOUR
    return Costs(
        device, devices, local, fixed + local * activations, max(0, int(room // found.activations)),
        max(0, int(room // (found.recomputed or found.activations))), sent, flop, seconds, hours / 24,
        hours * devices,
    )


def _learned_from(
    config: DictConfig, codec: Codec, reader: Reader, size: Mapping[str, float] | None
) -> tuple[Codec, Reader, tuple[int, ...], Fields]:
    """Codec and reader as the data settle them, the shape of a latent, and what can be told."""
    conditioner: type[Conditioner] = target_class(str(config.adapter.conditioner[TARGET]), Conditioner)
    missing = any(OmegaConf.is_missing(config.data, str(name)) for name in config.data)
    if conditioner.default_fields is not None and missing:
        size = size or read_size(config.adapter, codec)
        return codec, reader, codec.latent_shape(**size), conditioner.default_fields
    dataset = build(config.data, Dataset, reader=reader)
    codec, reader = resolve_codec(config.adapter, codec, reader, dataset.inferred)
    sample = dataset.read(max(range(len(dataset)), key=lambda i: prod(dataset.extent(i) or (1,))))[0]
    shape = sample.shape[1:] if isinstance(dataset, Latents) else codec.latent_shape(**(size or codec.size(sample)))
    return codec, reader, tuple(shape), dataset.fields


def _learn(model: DiffusionModel, config: DictConfig) -> None:
    """Let learn what the run says, where the model that it starts from is as large as this one."""
    if config.get("init") is None and pretrained(config):
        config.init = literal(str(config.adapter.model))
    base = None if config.get("init") is None else Base(Path(config.init), model, {})
    learn(model, base, config)


def _beside(adapter: Adapter) -> dict[str, int]:
    """Bytes of the codec's public parts and of a frozen text encoder, by what they are."""
    encoder, found = adapter.conditioner.encoder(), adapter.codec.frozen()
    return {**found, **({"text encoder": encoder.weight_bytes} if isinstance(encoder, Pretrained) else {})}


def _traced(
    model: DiffusionModel, recipe: Recipe, shape: tuple[int, ...], *, half: bool, tracks: int,
    beside: Mapping[str, int],
) -> Estimate:
    parts, network, conditioner = model.trainable, model.network, model.conditioner
    if isinstance(encoder := conditioner.encoder(), Pretrained):
        setattr(conditioner, "text", Unread(encoder))                             # noqa: B010 (of no declared class)
    learned = [p for p in parts.parameters() if p.requires_grad]
    weights = _bytes([*parts.parameters(), *parts.buffers()])
    run = step(network, conditioner, model.codec.channels, shape, half=half)
    plain = traced(run, parts)
    moments, learning = _moments(recipe, parts, learned), _bytes(learned)
    try:
        prepare(network, recompute=1, compiled=False)
        again: Trace | None = traced(step(network, conditioner, model.codec.channels, shape, half=half), parts)
    except ValueError:
        again = None
    dtypes = {p.dtype for p in network.parameters() if not p.requires_grad}
    return Estimate(
        sum(p.numel() for p in parts.parameters()), weights, learning, moments, tracks * learning,
        max(0, plain.constant), plain.flop,
        plain.activations, again and again.activations, again.flop if again else plain.flop,
        half or bool(dtypes & {torch.bfloat16, torch.float16}), beside,
        [_bytes(place.weight for place in places) for places in frozen_places(network)],
    )


def _moments(recipe: Recipe, parts: nn.Module, learned: list[nn.Parameter]) -> int:
    """Bytes of an optimizer's state after its first step."""
    optimizer, _ = recipe(parts, steps=1, fused=False)
    for parameter in learned:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    parts.zero_grad()
    return _bytes(value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
