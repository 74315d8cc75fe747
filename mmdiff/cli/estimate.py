"""What a run would take on devices that are not here: their words, the device that is meant, and the lines to print.

    mmdiff plan ... plan.device=h100|FILE.yaml|24GB [plan.devices=8 plan.trainer=fsdp plan.price=2.5 plan.model=NAME]

The numbers are those of ``mmdiff.training.elsewhere``; nothing is tried.
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from omegaconf import DictConfig, OmegaConf

from ..config.build import TARGET, ConfigError, build, target_class
from ..config.files import literal, load_yaml
from ..config.lines import value
from ..config.options import chosen, named
from ..config.overrides import composed
from ..config.words import Word

if TYPE_CHECKING:
    from ..training.elsewhere import Costs, Device, Estimate

KEYS: dict[str, Any] = {
    "plan.device": str, "plan.model": str, "plan.devices": Annotated[int, Ge(1)],
    "plan.trainer": Literal["ddp", "fsdp"], "plan.utilisation": Annotated[float, Gt(0), Le(1)],
    "plan.price": Annotated[float, Gt(0)],
}
MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?GB")
UTILISATION = 0.4
"""Share of the peak that a transformer of some hundred million parameters reaches in 16 bits with fused attention."""


def asked(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """What is said of devices that are not here, and the other words."""
    said = [Word.of(word) for word in words if word.partition("=")[0] in KEYS]
    rest = [word for word in words if word.partition("=")[0] not in KEYS]
    options = {word.key.removeprefix("plan."): value(word, KEYS[word.key]) for word in said}
    if options and "device" not in options:
        raise ConfigError(f"{said[0].key} goes with plan.device=NAME or FILE.yaml")
    return options, rest


def estimated(words: list[str], options: Mapping[str, Any]) -> int:
    """Print what a run takes with these ``options`` of devices."""
    from ..training.advice import advice
    from ..training.elsewhere import costs, estimate

    config, device = composed("train", words), _device(str(options["device"]))
    with _model(config, options.get("model")) as name:
        found = estimate(config)
    run: dict[str, Any] = {"devices": options.get("devices", 1), "trainer": options.get("trainer", "ddp"),
                           "utilisation": options.get("utilisation", UTILISATION)}
    total = costs(found, config, device, **run)
    if name is not None:
        print(f"model       the settings of {name} as they were published (plan.model), samples of adapter.reader")
    lines = shown(found, total, trainer=run["trainer"], utilisation=run["utilisation"], steps=config.trainer.max_steps,
                  price=options.get("price"))
    print("\n".join([*lines, *advice(found, config, device, **run)]))
    return 0


def _device(name: str) -> "Device":
    """The device of a name, of a file, or of a size of memory alone."""
    from ..training.elsewhere import Device

    if (memory := MEMORY.fullmatch(name)) is not None:
        return Device(f"{memory[1]} GB", float(memory[1]))
    return build(load_yaml(name) if Path(name).suffix == ".yaml" else chosen("accelerator", name), Device)


@contextmanager
def _model(config: DictConfig, name: str | None) -> Iterator[str | None]:
    """Name published settings as the model of a configuration that takes one and names none."""
    from ..training.published import fitting, unpacked

    left_out = OmegaConf.is_missing(config.adapter, "model")
    if name is not None and not left_out:
        raise ConfigError(f"plan.model={name} stands in for adapter.model= of a public model, such as adapter=wan: "
                          "leave one of them out")
    if not left_out:
        yield None
        return
    network = target_class(str(OmegaConf.select(config, f"adapter.network.{TARGET}")))
    names = fitting(getattr(network, "pipelines", ()))
    if name is None and not names:
        raise ConfigError("name the folder of the model by adapter.model=, or its published settings by plan.model=")
    if name is not None and name not in names and name in named("published"):
        raise ConfigError(f"plan.model={name} is of another family; this adapter reads {', '.join(names) or 'none'}")
    with unpacked(name or names[0]) as folder:
        config.adapter.model = literal(str(folder))
        yield name or names[0]


def shown(
    found: "Estimate", total: "Costs", *, trainer: str, utilisation: float, steps: int, price: float | None = None
) -> list[str]:
    """What a run takes on other devices, as it is printed; ``price`` is that of a device and hour."""
    device, split = total.device, f" / {total.devices}" if trainer == "fsdp" else ""
    parts = {"weights": found.weights, "gradients": found.learned, "moments": found.moments,
             "averages": found.averages, "computed weights": found.computed}
    of = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in parts.items() if size)
    few = f", {found.learned / 4e6:.2f} M learn" if found.learned < 4 * found.parameters else ""
    out = [f"device      {total.devices} x {device.name}, {device.memory_gb:g} GB each, {trainer}"]
    out.append(f"parameters  {found.parameters / 1e6:.2f} M{few}: {of}{split}")
    again = "" if found.recomputed is None else f", {found.recomputed / 1e6:.1f} MB with recompute=1"
    out.append(f"activations {found.activations / 1e6:.1f} MB a sample{again}")
    fits = "" if total.memory <= device.memory_gb * 1e9 else ": does not fit"
    out.append(f"memory      {total.memory / 1e9:.2f} GB with {total.batch:g} samples on each device{fits}")
    more = "" if found.recomputed is None else f", {total.largest_recomputed} with recompute=1"
    out.append(f"batch       at most {total.largest} samples on each device{more}")
    out.append(f"work        {found.flop / 1e9:.4g} GFLOP a sample, {total.flop / 1e12:.4g} TFLOP a step; "
                f"{total.sent / 1e6:.4g} MB sent by each device")
    if found.beside:
        frozen = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in found.beside.items())
        out.append(f"besides     {frozen}: not loaded where latents and texts are kept (mmdiff encode, data=latents)")
    if math.isnan(total.seconds):
        return [*out, "step        seconds are known of a device by name: mmdiff list devices"]
    out.append(f"step        {total.seconds:.3g} s at {utilisation:.0%} of the peak (plan.utilisation)")
    cost = "" if price is None else f", {price * total.hours:,.2f} at {price:g} a device and hour (plan.price)"
    return [*out, f"run         {steps} steps, {total.days:.3g} days, {total.hours:.3g} device hours{cost}"]
