"""``mmdiff plan [run=DIR] [adapter=... data=... key=value ...] [plan.minutes=20]``: what ``mmdiff train`` would take.
``plan.device=h100 [plan.devices=8 plan.trainer=fsdp plan.utilisation=0.4 plan.price=2.5]``: what on other devices.

Every part of the run is tried with the same words; exit code 2 and the reason where one would fail. Of a folder it is
said first what its files advise, as a recipe to copy; ``plan.minutes`` tries that recipe and says how many steps fit.
Devices (``mmdiff list devices``, a FILE.yaml of your own, or a size of memory such as 24GB) are not tried but reckoned
with; no weights are allocated or read, so of a public model (``adapter=wan``) the files of settings do, and without
``adapter.model=`` those that were published (``plan.model=NAME``, ``mmdiff list published``).
"""

import math
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from ..config.build import ConfigError
from ..config.overrides import composed
from ..config.words import parted
from .estimate import asked, estimated
from .sweep import Sweep

if TYPE_CHECKING:
    from ..training.plan import Plan

LEAST = 1000
"""Optimizer steps below which a smaller recipe is tried."""


def main(arguments: list[str]) -> int:
    """Try the run, started as ``mmdiff train`` starts it, and print what was found."""
    words, flags = parted(arguments, "-m", "--cfg")
    options, words = asked(words)
    if options and any(word.startswith("plan.minutes=") for word in words):
        raise ConfigError("plan.minutes tries a run here, plan.device reckons with devices that are not: use one")
    minutes, words = limit(words)
    if "--cfg" in flags:
        print(OmegaConf.to_yaml(composed("train", words)))
        return 0
    if options:
        return estimated(words, options)
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
