"""One run, one directory:

    config.yaml  data.json  metrics.csv  tensorboard/  previews/  checkpoints/  model.safetensors

A directory that holds a run is continued; one that does not is started.
"""

import logging
import os
import random
import shlex
import signal
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig

from ..cache.encode import require, uncached
from ..cache.latents import Latents
from ..config import kinds
from ..config.adapter import build_adapter, build_codec, build_model, settled, settled_codec
from ..config.build import ConfigError, build, plain
from ..config.files import CONFIG_FILE, MODEL_FILE, resolved
from ..config.record import Record, Setting, data_change, files, named, own_fields, read_record
from ..core.guidance import Guidance
from ..core.samplers import Sampler
from ..data.dataset import Dataset, Subset, spread
from ..data.labels import Fields, grown
from ..data.loaders import Loading, samples
from ..evaluation.scorer import LEAST
from ..store import model_config, save_model
from .base import Base, base_of, described, inherit, save_change_of
from .blocks import prepare
from .callbacks import Previews, Records, Validation
from .captions import told
from .checkpoints import model_step, shapes, start
from .continuing import continued, fits
from .learning import learn
from .lock import locked
from .module import TrainingModule
from .optim import Recipe
from .previews import PreviewMaker
from .progress import Progress, TrainingLog
from .quality import Quality
from .saving import SIGNALS, Checkpoints
from .trainer import ACCUMULATE, build_trainer, check_trainer

say = rank_zero_only(print)
QUIET = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
"""What a trainer that is only built, for its complaints, does not start."""


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning's remarks left out, while a run goes on: the run says itself what matters."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.pytorch")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def own_state() -> Iterator[None]:
    """Leaves the process as it was, however a run ends: handlers of signals, Python's, NumPy's and torch's generators,
    and the environment."""
    before, handlers = dict(os.environ), {number: signal.getsignal(number) for number in SIGNALS}
    python, numpy, tensors = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(tensors)
        os.environ.clear()
        os.environ.update(before)


class Interrupted(Exception):
    """The run was stopped by a signal after it had been saved."""


class Assembly(NamedTuple):
    """All that a configuration builds, short of the trainer that needs a step to start from."""

    module: TrainingModule
    val_set: Dataset
    callbacks: list[L.Callback]
    saving: Checkpoints
    quality: Quality
    stored: dict[str, Any]
    """The configuration that the model file carries."""
    report: dict[str, Any]
    bases: Sequence[dict[str, Any]]
    """The models that the run started from, nearest first."""
    start: str
    """The model that it starts from now, and what it changes of it."""


@own_state()
@quiet()
def train(config: DictConfig, overrides: Sequence[str] | None = None) -> Path:
    """Train, or continue, the run of ``config.run``; gives its directory.

    On an existing run the values of ``overrides`` are applied to the configuration that is in force there (without
    them, all of ``config`` is asked for); what a run keeps is refused.
    Raises ``ConfigError`` for a mistake of the user, ``Interrupted`` after a signal.
    """
    run = Path(config.run).expanduser()
    with locked(run) if (run / CONFIG_FILE).exists() else nullcontext():           # what is read of it must stay
        return _trained(run, config, overrides)


def _trained(run: Path, config: DictConfig, overrides: Sequence[str] | None) -> Path:
    config, record, changed = opened(run, config, overrides)
    checkpoint = start(record) if record else None
    step = checkpoint[1] if checkpoint else 0
    base = base_of(config, record, resumed=checkpoint is not None)
    parts = assemble(config, run, own=record, base=base)
    module = parts.module
    if record and (moved := data_change(record, module.dataset, parts.val_set)):
        changed.append(moved)
    learn, count = (sum(p.numel() for p in module.model.trainable.parameters() if p.requires_grad or all_)
                    for all_ in (False, True))
    few = " (too few for mmdiff eval)" if len(parts.val_set) < LEAST else ""
    say(f"{run}: {len(module.dataset)} training and {len(parts.val_set)} validation samples{few} of "
        f"{source(config.data)}, {len(parts.report['skipped'])} skipped (see data.json), "
        + (f"{learn / 1e6:.2f} M of " if learn < count else "") + f"{count / 1e6:.2f} M parameters"
        + (f", continuing from step {step}" if checkpoint else f", starting from {parts.start}" if base else "")
        + "".join(f"; {sentence}" for sentence in told((module.dataset, parts.val_set), module.model.conditioner)))
    if checkpoint:
        fits(run, module, shapes(checkpoint[0]), changed)
    if step >= config.trainer.max_steps:
        say(f"{run} is at step {step}, and trainer.max_steps is {config.trainer.max_steps}: nothing is left to train"
            + (", so nothing was changed" if changed else "") + "; more with trainer.max_steps=")
        return run
    for change in changed:
        say(f"  {change.key} was {change.old}, is {change.new}")
    parts.saving.least = model_step(run) or 0 if record else 0
    if parts.saving.least > step:
        say(f"  {MODEL_FILE} is of step {parts.saving.least}, and stays until this run has come to that step")
    if not checkpoint and base is None:
        fit_codec(module)
    if record is None or changed:
        history = [*(record.history if record else ()), *({"step": step, **c._asdict()} for c in changed)]
        described = files(config, history, parts.report, module.dataset, parts.val_set, parts.bases)
        parts.callbacks.insert(0, Records(run, described))
    with nullcontext() if record else locked(run):
        trainer = build_trainer(config, run, parts.callbacks, start=step)
        try:
            trainer.fit(module, ckpt_path=checkpoint[0] if checkpoint else None, weights_only=True)
        except SystemExit:                                            # Lightning's answer to a second Ctrl-C
            raise KeyboardInterrupt from None
        except Exception as error:
            if parts.saving.saved:
                say(f"{run} is saved up to step {parts.saving.saved}; go on with: mmdiff train {named(run)}")
            raise _explained(error, run) from error
    if parts.saving.signal:
        if parts.saving.signal == signal.SIGUSR1 and trainer.is_global_zero:
            requeue()
        raise Interrupted(f"saved at step {trainer.global_step}; go on with: mmdiff train {named(run)}")
    if trainer.global_step < trainer.max_steps:
        say(f"{run}: saved at step {trainer.global_step} of {trainer.max_steps}: {_ended_by(trainer, parts)}. Go on "
            f"with: mmdiff train {named(run)}")
    else:
        say(f"{run}: done; generate with: mmdiff sample {shlex.quote(str(run))} n=8")
    return run


def _ended_by(trainer: L.Trainer, parts: Assembly) -> str:
    """What ended a run before its last step, other than a signal or an error."""
    callbacks: list[L.Callback] = vars(trainer)["callbacks"]          # Lightning declares no such attribute
    timers = [c.time_remaining() for c in callbacks if isinstance(c, L.pytorch.callbacks.Timer)]
    if any(left is not None and left <= 0 for left in timers):
        return "trainer.max_time is up"
    return parts.quality.stopped or "a callback ended it"


def opened(
    run: Path, config: DictConfig, overrides: Sequence[str] | None
) -> tuple[DictConfig, Record | None, list[Setting]]:
    """The resolved configuration that is to be in force, what is known of the run where it exists, and what changes."""
    record = read_record(run)
    changed: list[Setting] = []
    config = settled(resolved(config))
    if record is not None:
        config, changed = continued(run, record.config, config, overrides)
    return config, record, changed


def source(data: DictConfig) -> str:
    """Where samples come from, in a few words: a folder, or the class that makes them."""
    return str(data["root"]) if "root" in data else f"{data['_target_'].rpartition('.')[2]} (made by code)"


def assemble(
    config: DictConfig, run: Path, *, own: Record | None = None, base: Base | None = None
) -> Assembly:
    """Build data, model, training module and callbacks of a resolved configuration, with the fields of its ``own`` run
    where that exists, and the weights of ``base`` where it starts from one."""
    check_trainer(config.trainer)
    for name, role in (("sampler", Sampler), ("guidance", Guidance)):      # a mistake is told before the training
        build(config[name], role)
    build(config.trainer, L.Trainer, **dict.fromkeys(QUIET, False))
    L.seed_everything(config.seed, verbose=False)                     # initial weights; all else is keyed
    codec, reader = build_codec(config.adapter)
    dataset = build(config.data, Dataset, reader=reader)
    codec, reader = settled_codec(config.adapter, codec, reader, dataset.told)
    fields = fields_of(dataset, own, base)
    if isinstance(dataset, Latents):
        require(dataset.settings, config.adapter, codec, reader)
    loading = build(config.loader, Loading)
    train_set, val_set = _parts(dataset, loading)
    train_set.fields = val_set.fields = fields
    model = build_model(build_adapter(config.adapter, codec, reader, fields=fields), config.diffusion)
    if base is not None:
        inherit(model, base, config)
    learn(model, base, config)
    save = partial(save_change_of, base) if base is not None and config.lora is not None else save_model
    bases = base.bases if base else own.bases if own else ()
    stored = model_config(config, codec, train_set)
    module = TrainingModule(
        model, train_set, optim=build(config.optim, Recipe), loading=loading, ema=plain(config.ema),
        seed=config.seed, max_steps=config.trainer.max_steps, accumulate=config.trainer.get(ACCUMULATE, 1),
    )
    prepare(model.denoiser.network, recompute=config.recompute, compiled=config.compile)
    shown = val_set if len(val_set) else train_set
    preview = PreviewMaker(stored, shown, n=config.preview.n)
    validation = Validation(config.validation.every if len(val_set) and loading.val_samples else 0, val_set, loading)
    judging = config.get("quality") or {}
    judged = train_set, val_set
    if isinstance(dataset, Latents) and judging.get("every"):
        judged = _parts(uncached(dataset, reader), loading)
    try:
        for name, taken in kinds.annotations(Quality).items():
            if name in judging:
                kinds.check(judging[name], taken, key=name)
        quality = Quality(run, stored, *judged, validation, bases=bases, save=save, **judging)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"quality.{str(error).removeprefix('quality.')}") from error
    saving = Checkpoints(config.checkpoint.every, run, stored, keep=config.checkpoint.keep, chooser=quality,
                         bases=bases, save=save)
    callbacks = [
        Progress(config.preview.every if config.preview.n else 0),
        TrainingLog(config.log.every),
        validation,
        quality,
        Previews(config.preview.every if config.preview.n else 0, run / "previews", preview),
        saving,
    ]
    start = "" if base is None else described(base, config, fields, dataset.fields)
    return Assembly(module, val_set, callbacks, saving, quality, stored, dataset.report(), bases, start)


def fields_of(dataset: Dataset, own: Record | None, base: Base | None) -> Fields:
    """What the model can be told: what the data tell, and what its ``own`` run or its ``base`` know besides."""
    try:
        if own is not None:                                           # a run with a base knows more than its data tell
            return own_fields(own, grown(own.fields, dataset.fields) if own.bases else dataset.fields)
        if base is not None and dataset.fields and not base.fields:
            raise ConfigError(f"{base.path} was told nothing, and has no place for {', '.join(dataset.fields)}: with "
                              "data.labels=[] it goes on so")
        return dataset.fields if base is None else grown(base.fields, dataset.fields)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _parts(dataset: Dataset, loading: Loading) -> tuple[Dataset, Dataset]:
    """What is trained on, and what is held out."""
    train_set, val_set = loading.split(dataset)
    if loading.limit is not None:
        train_set = Subset(train_set, spread(len(train_set), loading.limit))
    return train_set, val_set


def fit_codec(module: TrainingModule) -> None:
    """Measure the whitening on the training set."""
    codec, dataset = module.model.codec, module.dataset
    (codec.measure if dataset.encoded else codec.fit)(samples(dataset))


def _explained(error: Exception, run: Path) -> Exception:
    """The error in the words of the user, where its cause is outside the program."""
    if not isinstance(error, RuntimeError | ConnectionError):
        return error
    text = " ".join(str(error).split())
    if isinstance(error, ConnectionError) or text.startswith("DataLoader worker"):    # it ends in either, by chance
        return ChildProcessError(f"{text}: a data worker was killed, often for memory; fewer loader.workers may help")
    return error


def requeue() -> None:
    """Put the SLURM job that this is back into the queue; it will continue the run. Nothing where there is no job."""
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID")
    if job is not None:
        name = job if array is None else f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
        subprocess.run(["scontrol", "requeue", name], check=True)
