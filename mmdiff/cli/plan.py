"""``mmdiff plan [run=DIR] [adapter=... data=... key=value ...] [plan.minutes=20]``: what ``mmdiff train`` would take.
``plan.device=h100 [plan.devices=8 plan.trainer=fsdp plan.utilisation=0.4 plan.price=2.5]``: what on other devices.

Every part of the run is tried with the same words; exit code 2 and the reason where one would fail. Of a folder it is
said first what its files advise, as a recipe to copy; ``plan.minutes`` tries that recipe and says how many steps fit.
Devices (``mmdiff list devices``, a FILE.yaml of your own, or a size of memory such as 24GB) are not tried but reckoned
with; no weights are allocated or read, so of a public model (``adapter=wan``) the files of settings do, and without
``adapter.model=`` those that were published (``plan.model=NAME``, ``mmdiff list published``).
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
from ..config.options import chosen, named
from ..config.overrides import composed, value
from ..config.words import Word, parted
from .sweep import Sweep

if TYPE_CHECKING:
    from ..training.elsewhere import Costs, Device, Estimate
    from ..training.plan import Plan

LEAST = 1000
"""Optimizer steps below which a smaller recipe is tried."""
ELSEWHERE: dict[str, Any] = {
    "plan.device": str, "plan.model": str, "plan.devices": Annotated[int, Ge(1)],
    "plan.trainer": Literal["ddp", "fsdp"], "plan.utilisation": Annotated[float, Gt(0), Le(1)],
    "plan.price": Annotated[float, Gt(0)],
}
"""What a run on other devices is reckoned with."""
MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?GB")
UTILISATION = 0.4
"""Share of the peak that a transformer of some hundred million parameters reaches in 16 bits with fused attention."""


def main(arguments: list[str]) -> int:
    """Try the run, started as ``mmdiff train`` starts it, and print what was found."""
    words, flags = parted(arguments, "-m", "--cfg")
    options, words = elsewhere(words)
    if options and any(word.startswith("plan.minutes=") for word in words):
        raise ConfigError("plan.minutes tries a run here, plan.device reckons with devices that are not: use one")
    minutes, words = limit(words)
    if "--cfg" in flags:
        print(OmegaConf.to_yaml(composed("train", words)))
        return 0
    if options:
        return _reckoned(words, options)
    if minutes is not None:
        return _within(minutes, words, swept="-m" in flags)
    sweep = Sweep("plan", words, swept="-m" in flags)
    from ..training.plan import plan  # after mistakes in the words: it takes seconds
    from ..training.train import say
    from .recipe import block, recipe

    if not sweep.swept and (advice := recipe(words)):
        print(*block(words, advice), "", sep="\n")

    for run in sweep.runs:
        with sweep.attempt(run):
            say("\n".join(lines(plan(run.config, run.overrides))))
    return sweep.code


def limit(words: list[str]) -> tuple[float | None, list[str]]:
    """``plan.minutes``, where it is said, and the other words."""
    said = [word for word in words if word.startswith("plan.minutes=")]
    rest = [word for word in words if word not in said]
    if not said:
        return None, rest
    try:
        minutes = float(said[-1].partition("=")[2])
    except ValueError:
        minutes = math.nan
    if not 0 < minutes < math.inf:
        raise ConfigError(f"{said[-1]}: it is the minutes that training may take, such as plan.minutes=20")
    if any(word.startswith("trainer.max_steps=") for word in rest):
        raise ConfigError("plan.minutes finds trainer.max_steps: leave one of them out")
    return minutes, rest


def elsewhere(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """What is said of devices that are not here, and the other words."""
    said = [Word.of(word) for word in words if word.partition("=")[0] in ELSEWHERE]
    rest = [word for word in words if word.partition("=")[0] not in ELSEWHERE]
    options = {word.key.removeprefix("plan."): value(word, ELSEWHERE[word.key]) for word in said}
    if options and "device" not in options:
        raise ConfigError(f"{said[0].key} goes with plan.device=NAME or FILE.yaml")
    return options, rest


def _reckoned(words: list[str], options: Mapping[str, Any]) -> int:
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


def _within(minutes: float, words: list[str], *, swept: bool) -> int:
    """Try the recipe, and a smaller one where it would have too few steps, and print it with the steps that fit."""
    if swept:
        raise ConfigError("plan.minutes is of one run: leave -m out")
    from ..data.reader import Advice
    from ..training.plan import plan
    from .recipe import block, recipe

    for small in (False, True):
        advice = recipe(words, small=small)
        sweep = Sweep("plan", [*words, *(one.word for one in advice)], swept=False)
        (run,) = sweep.runs
        with sweep.attempt(run):
            found = plan(run.config, run.overrides)
        steps = max(1, int(found.steps * 60 * minutes / found.eta))
        if steps >= LEAST or not advice:
            break
    why = f"{minutes:g} min at {found.seconds['step']:.3g} s a step, validation, previews and checkpoints included"
    few = f"; fewer than {LEAST}: samples will be rough" if steps < LEAST else ""
    print(*block(words, [*advice, Advice("trainer.max_steps", str(steps), why + few)]), sep="\n")
    return 0


def lines(found: "Plan") -> list[str]:
    """A plan, as it is printed."""
    skipped = found.report["skipped"]
    out = [f"data        {found.train} training and {found.val} validation samples, {len(skipped)} skipped"]
    out += [f"              {name}: {reason}" for name, reason in skipped[:10]]
    out += [f"captions    {sentence}" for sentence in found.captions]
    for bucket in found.buckets:
        extent = " x ".join(map(str, bucket.extent))
        out.append(f"bucket      {len(bucket.members)} samples of up to {extent}: {bucket.batch} a step, "
                    f"{bucket.steps:.1f} steps an epoch")
    epoch = sum(bucket.steps for bucket in found.buckets)
    out.append(f"run         {found.steps} steps, {found.steps / epoch:.1f} epochs of {epoch:.1f}")
    parts = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in found.parameters.items() if count)
    few = f", of which {found.learning / 1e6:.2f} M learn" if found.learning < found.trainable else ""
    out.append(f"parameters  {parts}{few}")
    out.append(f"step        {found.seconds['step']:.3g} s with the largest batch")
    for name, count in found.counts.items():
        if name in found.seconds:
            out.append(f"{name:<11} {found.seconds[name]:.3g} s, {count} of them")
    out.append(f"resume      works, {found.seconds['resume']:.3g} s with one step")
    memory = ", ".join(f"{size / 2**20:.0f} MiB on the {name}" for name, size in found.memory.items())
    out.append(f"memory      {memory} at the peak (this process; data workers come on top)")
    out.append(f"disk        {found.disk / 2**20:.0f} MiB needed, {found.free / 2**20:.0f} MiB free")
    return [*out, f"time        {duration(found.eta)}"]


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, the largest two that matter."""
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{int(hours)} h {int(minutes % 60)} min"
    return f"{int(minutes)} min {int(seconds % 60)} s" if minutes >= 1 else f"{seconds:.0f} s"
