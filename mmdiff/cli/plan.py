"""``mmdiff plan [run=DIR] [adapter=... data=... key=value ...]``: what ``mmdiff train`` would take.

Every part of the run is tried with the same words; exit code 2 and the reason where one would fail.
"""

from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from ..config.overrides import composed
from ..config.words import parted
from .sweep import Sweep

if TYPE_CHECKING:
    from ..training.plan import Plan


def main(arguments: list[str]) -> int:
    """Try the run, started as ``mmdiff train`` starts it, and print what was found."""
    words, flags = parted(arguments, "-m", "--cfg")
    if "--cfg" in flags:
        print(OmegaConf.to_yaml(composed("train", words)))
        return 0
    sweep = Sweep("plan", words, swept="-m" in flags)
    from ..training.plan import plan
    from ..training.train import say

    for run in sweep.runs:
        with sweep.attempt(run):
            say("\n".join(lines(plan(run.config, run.overrides))))
    return sweep.code


def lines(found: "Plan") -> list[str]:
    """A plan, as it is printed."""
    skipped = found.report["skipped"]
    told = [f"data        {found.train} training and {found.val} validation samples, {len(skipped)} skipped"]
    told += [f"              {name}: {reason}" for name, reason in skipped[:10]]
    told += [f"captions    {sentence}" for sentence in found.captions]
    for bucket in found.buckets:
        extent = " x ".join(map(str, bucket.extent))
        told.append(f"bucket      {len(bucket.members)} samples of up to {extent}: {bucket.batch} a step, "
                    f"{bucket.steps:.1f} steps an epoch")
    epoch = sum(bucket.steps for bucket in found.buckets)
    told.append(f"run         {found.steps} steps, {found.steps / epoch:.1f} epochs of {epoch:.1f}")
    parts = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in found.parameters.items() if count)
    few = found.learning < sum(found.parameters[name] for name in ("denoiser", "conditioner"))
    told.append(f"parameters  {parts}" + (f", of which {found.learning / 1e6:.2f} M learn" if few else ""))
    told.append(f"step        {found.seconds['step']:.3g} s with the largest batch")
    for name, count in found.counts.items():
        if name in found.seconds:
            told.append(f"{name:<11} {found.seconds[name]:.3g} s, {count} of them")
    told.append(f"resume      works, {found.seconds['resume']:.3g} s with one step")
    memory = ", ".join(f"{size / 2**20:.0f} MiB on the {name}" for name, size in found.memory.items())
    told.append(f"memory      {memory} at the peak (this process; data workers come on top)")
    told.append(f"disk        {found.disk / 2**20:.0f} MiB needed, {found.free / 2**20:.0f} MiB free")
    return [*told, f"time        {duration(found.eta)}"]


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, the largest two that matter."""
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{int(hours)} h {int(minutes % 60)} min"
    return f"{int(minutes)} min {int(seconds % 60)} s" if minutes >= 1 else f"{seconds:.0f} s"
