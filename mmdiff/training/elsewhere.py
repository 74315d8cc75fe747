"""What a run will take on devices that are not here: nothing is computed, and no weights are allocated.

    fixed     = weights + gradients + moments + averages, over the devices where training is sharded
    memory    <= fixed + batch x activations of a sample,     traced through forward and backward of fake tensors
    seconds   = max(FLOP / (devices x peak x utilisation),  bytes sent / link)               a step, overlapped
    sent      = 2 (n - 1) / n x gradients  (all-reduce),  or 3 (n - 1) / n x weights  (two gathers and a scatter)

Multiplications and additions of a forward and a backward pass count each, and again where a block is computed again.
Data, validation, previews and the codec are left out: ``mmdiff plan`` measures them where it runs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from ..adapters.base import Adapter
from ..cache.latents import Latents
from ..config.adapter import build_adapter, build_codec, is_conditional, resolve_codec, resolve_files
from ..config.build import ConfigError, build
from ..config.files import resolved
from ..data.dataset import Dataset
from ..data.loaders import Loading
from .blocks import prepare
from .optim import Recipe
from .trainer import ACCUMULATE

FEW, MORE = 512, 1024
"""Samples that are traced, as many as make activations more than gradients: memory is highest where they are, then."""
GB, HOUR = 1e9, 3600.0
RESERVED = 0.9
"""Share of a device's memory that is taken to be there for tensors."""


@dataclass(frozen=True)
class Device:
    """One accelerator; see ``configs/accelerator``."""

    name: str
    memory_gb: float
    tflops_16: float
    tflops_32: float
    link_gb: float


class Trace(NamedTuple):
    """A forward and backward pass of one sample more, and what stays whatever the batch."""

    flop: int
    activations: int
    """Bytes."""


class Estimate(NamedTuple):
    """Counts and bytes of the whole model; ``flop`` and ``activations`` of one sample."""

    parameters: int
    weights: int
    gradients: int
    moments: int
    averages: int
    flop: int
    activations: int
    recomputed: int | None
    """Activations where every block is computed again; None where a network has no blocks."""
    again: int
    """FLOP of a sample then, those that are done twice counted twice."""

    @property
    def fixed(self) -> int:
        """Bytes whatever the batch."""
        return self.weights + self.gradients + self.moments + self.averages


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
    config = resolve_files(resolved(config))
    codec, reader = build_codec(config.adapter)
    dataset = build(config.data, Dataset, reader=reader)
    codec, reader = resolve_codec(config.adapter, codec, reader, dataset.inferred)
    sample = dataset.read(max(range(len(dataset)), key=lambda i: prod(dataset.extent(i) or (1,))))[0]
    shape = sample.shape[1:] if isinstance(dataset, Latents) else codec.latent_shape(**(size or codec.size(sample)))
    recipe, half = build(config.optim, Recipe), "16" in str(config.trainer.get("precision") or "")
    try:
        with FakeTensorMode():
            adapter = build_adapter(config.adapter, codec, reader, fields=dataset.fields)
            parts = nn.ModuleDict({"network": adapter.network, "conditioner": adapter.conditioner})
            weights = _bytes(parts.state_dict().values())
            learned = [p for p in parts.parameters() if p.requires_grad]
            plain = traced(_step(adapter, codec.channels, shape, half=half), parts)
            moments = _moments(recipe, parts, learned)
            try:
                prepare(adapter.network, recompute=1, compiled=False)
                again: Trace | None = traced(_step(adapter, codec.channels, shape, half=half), parts)
            except ValueError:
                again = None
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise ConfigError(f"this network is not traced without its weights, so mmdiff plan has to try it here: {error}"
                          ) from error
    tracks = len(config.ema)
    return Estimate(
        sum(p.numel() for p in parts.parameters()), weights, _bytes(learned), moments, tracks * _bytes(learned),
        plain.flop, plain.activations, again and again.activations, again.flop if again else plain.flop,
    )


def costs(
    found: Estimate, config: DictConfig, device: Device, *, devices: int, trainer: Literal["ddp", "fsdp"],
    utilisation: float,
) -> Costs:
    """That run on a number of devices."""
    half = "16" in str(config.trainer.get("precision") or "")
    parts = devices if trainer == "fsdp" else 1
    passes = config.trainer.get(ACCUMULATE, 1)
    batch = build(config.loader, Loading).batch_size
    own, room = batch / devices / passes, RESERVED * device.memory_gb * GB - found.fixed / parts
    activations = found.recomputed if config.recompute and found.recomputed is not None else found.activations
    sent = (devices - 1) / devices * (3 * found.weights * passes if trainer == "fsdp" else 2 * found.gradients)
    flop = batch * (found.again if config.recompute else found.flop)
    peak = 1e12 * (device.tflops_16 if half else device.tflops_32)
    seconds = max(flop / (devices * peak * utilisation), sent / (device.link_gb * GB))
    hours = seconds * config.trainer.max_steps / HOUR
    return Costs(
        device, devices, own, found.fixed / parts + own * activations, max(0, int(room // found.activations)),
        max(0, int(room // (found.recomputed or found.activations))), sent, flop, seconds, hours / 24,
        hours * devices,
    )


def _step(adapter: Adapter, channels: int, shape: tuple[int, ...], *, half: bool) -> Callable[[int], None]:
    """A forward and a backward pass of a number of samples."""
    def run(batch: int) -> None:
        cond = adapter.conditioner.null(batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = adapter.network(torch.randn(batch, channels, *shape), torch.rand(batch), cond)
        out.float().square().mean().backward()

    return run


def traced(run: Callable[[int], None], parts: nn.Module) -> Trace:
    """What one sample more takes. Under ``FakeTensorMode``."""
    flop, peaks = [], []
    for batch in (FEW, MORE):
        with _counted() as counter:
            run(batch)
        flop.append(counter.get_total_flops())
        parts.zero_grad()
        tracker = MemTracker()
        tracker.track_external(parts)
        with tracker:
            run(batch)
        parts.zero_grad()
        peaks.append(sum(device["Total"] for device in tracker.get_tracker_snapshot("peak").values()))
    more = MORE - FEW
    return Trace((flop[1] - flop[0]) // more, (peaks[1] - peaks[0]) // more)


@contextmanager
def _counted() -> Iterator[FlopCounterMode]:
    """The counter, which does not know the attention of a CPU by itself."""
    aten = torch.ops.aten
    known: Mapping[Any, Callable[..., int]] = {
        aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
        aten._scaled_dot_product_flash_attention_for_cpu_backward:
            lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v),
    }
    with FlopCounterMode(display=False, custom_mapping=dict(known)) as counter:
        yield counter


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
