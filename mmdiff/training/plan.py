"""What a run will take, found by doing it: a few real steps with the largest batches, validations, previews, saves and
a resume, in a folder that is deleted again.

    time  =  steps x seconds a step x (mean positions of a step / those of the largest)  +  that of what is done besides
    disk  =  (checkpoints kept + 1) x checkpoint  +  2 x model file  +  previews

Memory is what the process has taken by then, before it resumes. All that is done besides is done twice, with steps
between: what it frees comes back in pieces that later steps cannot use.
"""

import math
import resource
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from ..config.build import ConfigError, build
from ..config.files import MODEL_FILE
from ..config.record import Record
from ..data.dataset import Dataset, Subset
from ..data.stream import Stream
from .base import Base, base_of
from .callbacks import Every, Previews, Validation
from .captions import caption_report
from .checkpoints import latest, start
from .few import Few
from .process import memory_kept, quiet, saved_state
from .progress import Progress
from .run import Assembly, assemble, measure, opened
from .saving import Checkpoints
from .trainer import build_trainer

STEPS = 4
"""Optimizer steps that are tried, an even number; the first is left out of the time of a step."""
ACTS = {Validation: "validation", Previews: "preview", Checkpoints: "checkpoint"}
"""What a run does besides training, by the name of its part of the configuration."""


class Bucket(NamedTuple):
    """Samples of one shape: their numbers, largest first, how many a step takes, and the extent of the largest."""

    members: list[int]
    batch: int
    extent: tuple[int, ...]

    @property
    def positions(self) -> int:
        """Of the largest step: samples x positions of the largest of them."""
        return self.batch * math.prod(self.extent)

    @property
    def steps(self) -> float:
        """Steps that take each sample once."""
        return len(self.members) / self.batch


class Plan(NamedTuple):
    """What was found; times in seconds, sizes in bytes."""

    report: dict[str, Any]
    train: int
    val: int
    captions: list[str]
    buckets: list[Bucket]
    parameters: dict[str, int]
    trainable: int
    """Parameters that could learn."""
    learning: int
    """Those that do."""
    steps: int
    """Optimizer steps that are left."""
    seconds: dict[str, float]
    """Of a ``step``, of each ``validation``, ``preview``, ``checkpoint`` and ``resume``, and of what is made before."""
    counts: dict[str, int]
    memory: dict[str, int]
    """Peak of the process (``host``) and, where there is one, of the ``gpu``."""
    disk: int
    free: int

    @property
    def eta(self) -> float:
        """Seconds to the end of the run."""
        positions = sum(b.steps * b.positions for b in self.buckets) / sum(b.steps for b in self.buckets)
        steps = self.steps * self.seconds["step"] * positions / max(b.positions for b in self.buckets)
        return steps + sum(self.counts[name] * self.seconds.get(name, 0.0) for name in self.counts)


@saved_state()
@memory_kept()
@quiet()
def plan(config: DictConfig, overrides: Sequence[str] | None = None) -> Plan:
    """Try the run of ``config``. Raises ``ConfigError`` saying why it would fail."""
    run = Path(config.run).expanduser()
    config, record, _ = opened(run, config, overrides)
    done = start(record) if record else None
    steps = config.trainer.max_steps - (done[1] if done else 0)
    if steps < 1:
        raise ConfigError(f"there would be no batch: trainer.max_steps={config.trainer.max_steps}"
                          + (f", and {run} is at step {done[1]}" if done else ""))
    home = next(parent for parent in run.absolute().parents if parent.exists())
    free, trial = shutil.disk_usage(home).free, home / f".{run.name}.plan"
    rank_zero_only(shutil.rmtree)(trial, ignore_errors=True)
    try:
        trial.mkdir(exist_ok=True)
        base = base_of(config, record, resumed=done is not None, folder=trial)
        return _tried(config, trial, record, base, steps=steps, free=free)
    finally:
        rank_zero_only(shutil.rmtree)(trial, ignore_errors=True)


def buckets(dataset: Dataset, order: Stream) -> list[Bucket]:
    """The buckets of a training stream; samples of unknown extent count as alike."""
    found = []
    for members, batch in zip(order.members, order.sizes, strict=True):
        extents = {i: dataset.extent(i) for i in members}
        largest = sorted(members, key=lambda i: math.prod(extents[i] or (1,)), reverse=True)
        found.append(Bucket(largest, batch, extents[largest[0]] or tuple(dataset.read(largest[0])[0].shape[1:])))
    return found


def _tried(
    config: DictConfig, trial: Path, record: Record | None, base: Base | None, *, steps: int, free: int
) -> Plan:
    parts = assemble(_short(config, trial, STEPS), trial, record=record, base=base)
    module, dataset = parts.module, parts.module.dataset
    sentences = caption_report((parts.train_set, parts.val_set), module.model)
    found = buckets(dataset, module.loading.order(dataset, seed=config.seed, steps=steps))
    if (tried := _paths(config, STEPS)) is not None:                   # a part of those that there will be
        found = [bucket._replace(members=bucket.members * (config.few.n // tried)) for bucket in found]
    if missing := _missing(module.model.reader.buckets, parts.train_set):
        raise ConfigError(f"no training sample falls into the bucket(s) {', '.join(map(str, missing))}: leave them out")
    if base is None:
        with _stage("the whitening"):
            measure(module)
    largest = max(found, key=lambda bucket: bucket.positions)
    module.dataset = Subset(dataset, largest.members[: STEPS * largest.batch])
    seconds = _fit(config, trial, parts)
    memory = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if torch.cuda.is_available():
        memory["gpu"] = torch.cuda.max_memory_reserved()
    parameters = {name: sum(p.numel() for p in part.parameters()) for name, part in module.model.named_children()}
    learned = list(module.model.trainable.parameters())
    trainable, learning = (sum(p.numel() for p in some) for some in (learned, (p for p in learned if p.requires_grad)))
    report, train, val = parts.report, len(parts.train_set), len(parts.val_set)
    before = build(config.few, Few).before(base, config, parts.train_set) if config.get("few") else {}
    del parts, module
    seconds["resume"] = _resumed(config, trial, record, base)
    counts = {name: _times(config[name].every, steps, least=name == "checkpoint") for name in ACTS.values()}
    for name, each in before.items():
        seconds[name], counts[name] = each.seconds, each.number
    one = max(map(_size, (trial / "checkpoints").iterdir()))
    model, preview = _size(trial / MODEL_FILE), _size(trial / "previews")
    disk = (config.checkpoint.keep + 1) * one + 2 * model + counts["preview"] * preview // 2
    disk += sum(each.number * each.size for each in before.values())
    if disk > free:
        raise ConfigError(f"the disk is full: the run needs {disk / 2**20:.0f} MiB, {free / 2**20:.0f} MiB are free")
    return Plan(
        report, train, val, sentences, found, parameters, trainable, learning, steps, seconds, counts, memory,
        disk, free,
    )


def _short(config: DictConfig, trial: Path, steps: int) -> DictConfig:
    """The same run over ``steps`` steps, with all that it does besides done in the middle and at the end."""
    changes = {"run": str(trial), "trainer": {"max_steps": steps}, "log": {"every": 1}}
    changes |= {name: {"every": STEPS // 2 if config[name].every else 0} for name in ACTS.values()}
    if (paths := _paths(config, steps)) is not None:
        changes["few"] = {"n": paths}
    merged: Any = OmegaConf.merge(config, changes)
    return merged


def _paths(config: DictConfig, steps: int) -> int | None:
    """How many of the paths of ``few=paths`` so many steps take."""
    few: Any = config.get("few") or {}
    return min(few.n, steps * config.loader.batch_size) if "n" in few else None


def _fit(config: DictConfig, trial: Path, parts: Assembly) -> dict[str, float]:
    """Train, and give the median seconds of a step, and those of what was done besides."""
    clock = _Clock()
    seconds: dict[str, float] = {}
    callbacks = [clock, *(c for c in parts.callbacks if not isinstance(c, Progress))]
    for callback in callbacks:
        if isinstance(callback, Every) and (name := ACTS.get(type(callback))):
            setattr(callback, "act", _timed(callback.act, name, seconds))      # noqa: B010 (a method, in this object)
    trainer = build_trainer(_short(config, trial, STEPS), trial, callbacks)
    with _stage("a training step with the largest batch"):
        trainer.fit(parts.module)
    return {"step": statistics.median(clock.seconds), **seconds}


def _resumed(config: DictConfig, trial: Path, record: Record | None, base: Base | None) -> float:
    """Seconds to come back and do one step."""
    start = time.perf_counter()
    bare: Any = OmegaConf.merge(config, {"validation": {"every": 0}, "preview": {"every": 0}})
    short = _short(bare, trial, STEPS + 1)
    with _stage("resuming"):
        parts = assemble(short, trial, record=record, base=base)
        callbacks = [c for c in parts.callbacks if not isinstance(c, Progress)]
        trainer = build_trainer(short, trial, callbacks, start=STEPS)
        newest = latest(trial / "checkpoints")
        trainer.fit(parts.module, ckpt_path=newest and newest[0], weights_only=True)
    return time.perf_counter() - start


class _Clock(L.Callback):
    """Seconds from the end of one optimizer step to the end of the next, the first left out."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last, self._step = 0.0, 0

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step > self._step:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            now = time.perf_counter()
            if self._step:
                self.seconds.append(now - self._last)
            self._last, self._step = now, trainer.global_step


def _timed(act: Callable, name: str, seconds: dict[str, float]) -> Callable:
    def timed(*arguments: Any) -> None:
        start = time.perf_counter()
        with _stage(f"the {name}"):
            act(*arguments)
        seconds[name] = time.perf_counter() - start

    return timed


@contextmanager
def _stage(name: str) -> Iterator[None]:
    """Failures that a run could meet, told with what it was doing."""
    try:
        yield
    except ConfigError:
        raise
    except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
        failure = ConfigError(f"{name} fails: {error}")
        for note in getattr(error, "__notes__", ()):
            failure.add_note(note)
        raise failure from error


def _missing(wanted: Sequence[tuple[int, ...]], dataset: Dataset) -> list[tuple[int, ...]]:
    shapes = {dataset.shape(i) for i in range(len(dataset))}
    return [] if None in shapes else [tuple(bucket) for bucket in wanted if tuple(bucket) not in shapes]


def _times(every: int, steps: int, *, least: int) -> int:
    """How often something is done that is done every n steps, and at the last of them."""
    return math.ceil(steps / every) if every else least


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)
