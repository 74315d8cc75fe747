"""What to change of a run that does not fit a device: one thing after the other, those that cost least first."""

import copy
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from omegaconf import DictConfig, OmegaConf

from ..config.build import build
from ..data.loaders import Loading
from .elsewhere import GB, RESERVED, Costs, Device, Estimate, costs
from .trainer import ACCUMULATE

MOST = 16
"""Devices over which training is taken to be sharded, at most."""


class Remedy(NamedTuple):
    """What to say in addition, and what the run takes then."""

    words: str
    costs: Costs


def advice(
    found: Estimate, config: DictConfig, device: Device, *, devices: int, trainer: Literal["ddp", "fsdp"],
    utilisation: float,
) -> list[str]:
    """Lines with the memory that a run takes after each change, up to the first that fits; none where it fits as it is.
    """
    room = RESERVED * device.memory_gb * GB
    run: dict[str, Any] = {"devices": devices, "trainer": trainer, "utilisation": utilisation}
    if costs(found, config, device, **run).memory <= room:
        return []
    lines = []
    for words, estimated in _changes(found, config, device, run):
        fits = estimated.memory <= room
        lines.append(f"to fit      {words}: {estimated.memory / GB:.2f} GB{'' if fits else ', and'}")
        if fits:
            return lines
    return [*lines, "to fit      smaller samples (adapter.reader), a smaller model or a device with more memory"]


def _changes(found: Estimate, config: DictConfig, device: Device, run: dict[str, Any]) -> Iterator[Remedy]:
    """Each with those before it."""
    config = copy.deepcopy(config)
    learns_all = config.get("lora") is None and found.learned * 2 > found.weights
    if learns_all and config.get("init") is not None:                 # a rank of 16 is about a hundredth
        few = found.learned // 100
        found = found._replace(learned=few, averages=few, moments=2 * few)
        yield Remedy("lora=16, about", costs(found, config, device, **run))
    if OmegaConf.select(config, "adapter.network.dtype") == "float32":
        found = found._replace(weights=(found.weights + found.learned) // 2)
        yield Remedy("adapter.network.dtype=bfloat16", costs(found, config, device, **run))
    if not config.recompute and found.recomputed is not None:
        config.recompute = 1
        yield Remedy("recompute=1", costs(found, config, device, **run))
    batch = build(config.loader, Loading).batch_size // run["devices"]
    estimated = costs(found, config, device, **run)
    fitting = estimated.largest_recomputed if config.recompute else estimated.largest
    passes = next((n for n in range(1, batch + 1) if batch % n == 0 and batch // n <= fitting), batch)
    if passes > config.trainer.get(ACCUMULATE, 1):
        OmegaConf.update(config, f"trainer.{ACCUMULATE}", passes, force_add=True)
        yield Remedy(f"trainer.{ACCUMULATE}={passes}", costs(found, config, device, **run))
    if run["devices"] == 1 and not config.offload and config.recompute == 1 and found.elsewhere > 0:
        config.offload = True
        yield Remedy("offload=true", costs(found, config, device, **run))
    while run["devices"] < MOST:
        config.offload = False
        run = {**run, "trainer": "fsdp", "devices": 2 * run["devices"]}
        OmegaConf.update(config, f"trainer.{ACCUMULATE}", 1, force_add=True)
        config.loader.batch_size = run["devices"]                     # one sample each
        yield Remedy(f"plan.trainer=fsdp plan.devices={run['devices']} loader.batch_size={run['devices']}",
                     costs(found, config, device, **run))
