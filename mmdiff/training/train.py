"""One run, one directory:

    config.yaml  data.json  metrics.csv  tensorboard/  previews/  checkpoints/  model.safetensors

A directory that holds a run is continued; one that does not is started.
"""

import shlex
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import lightning as L
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig

from ..config.files import CONFIG_FILE, MODEL_FILE
from ..config.record import data_change, files, named
from ..evaluation.scorer import LEAST
from .base import base_of
from .callbacks import Records
from .captions import caption_report
from .checkpoints import model_step, shapes, start
from .continuing import fits
from .few import objective
from .lock import locked
from .process import memory_kept, quiet, requeue, saved_state
from .run import Assembly, assemble, measure, opened
from .trainer import build_trainer

say = rank_zero_only(print)


class Interrupted(KeyboardInterrupt):
    """The run was stopped by a signal after it had been saved, which was told."""


@saved_state()
@memory_kept()
@quiet()
def train(config: DictConfig, overrides: Sequence[str] | None = None) -> Path:
    """Train, or continue, the run of ``config.run``; gives its directory.

    On an existing run the values of ``overrides`` are applied to the configuration that is in force there (without
    them, all of ``config`` is asked for); what a run keeps is refused.
    Raises ``ConfigError`` for a mistake of the user, ``Interrupted`` after a signal.
    """
    run = Path(config.run).expanduser()
    with ExitStack() as stack:
        if (run / CONFIG_FILE).exists():
            stack.enter_context(locked(run))                          # what is read of it must stay
        config, record, changed = opened(run, config, overrides)
        checkpoint = start(record) if record else None
        step = checkpoint[1] if checkpoint else 0
        base = base_of(config, record, resumed=checkpoint is not None)
        parts = assemble(config, run, record=record, base=base)
        module = parts.module
        if record and (moved := data_change(record, parts.train_set, parts.val_set)):
            changed.append(moved)
        say(_headline(run, config, parts, f"continuing from step {step}" if checkpoint else parts.start))
        if checkpoint:
            fits(run, module, shapes(checkpoint[0]), changed)
        if step >= config.trainer.max_steps:
            say(f"{run} is at step {step}, and trainer.max_steps is {config.trainer.max_steps}: nothing is left to "
                "train" + (", so nothing was changed" if changed else "") + "; more with trainer.max_steps=")
            return run
        for change in changed:
            say(f"  {change.key} was {change.old}, is {change.new}")
        parts.saving.least = model_step(run) or 0 if record else 0
        if parts.saving.least > step:
            say(f"  {MODEL_FILE} is of step {parts.saving.least}, and stays until this run has come to that step")
        if not checkpoint and base is None:
            measure(module)
        if record is None or changed:
            history = [*(record.history if record else ()), *({"step": step, **c._asdict()} for c in changed)]
            described = files(config, history, parts.report, parts.train_set, parts.val_set, parts.bases)
            parts.callbacks.insert(0, Records(run, described))
        if record is None:
            stack.enter_context(locked(run))
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
        say(f"saved at step {trainer.global_step}; go on with: mmdiff train {named(run)}")
        raise Interrupted
    if trainer.global_step < trainer.max_steps:
        say(f"{run}: saved at step {trainer.global_step} of {trainer.max_steps}: {_ended_by(trainer, parts)}. Go on "
            f"with: mmdiff train {named(run)}")
    else:
        say(f"{run}: done; {module.model.use.format(run=shlex.quote(str(run)))}")
    return run


def _headline(run: Path, config: DictConfig, parts: Assembly, beginning: str) -> str:
    """The first line of a run: what it learns from, how much of it learns, and where it begins."""
    module = parts.module
    parameters = list(module.model.trainable.parameters())
    count, learn = (sum(p.numel() for p in some) / 1e6
                    for some in (parameters, (p for p in parameters if p.requires_grad)))
    few = " (too few for mmdiff eval)" if len(parts.val_set) < LEAST else ""
    (size, _), *beside = parts.train_set.shares()
    return "".join([
        f"{run}: {size} training and {len(parts.val_set)} validation samples{few} of ",
        f"{source(config.data)}, {len(parts.report['skipped'])} skipped (see data.json), ",
        f"{learn:.2f} M of {count:.2f} M parameters" if learn < count else f"{count:.2f} M parameters",
        f", {beginning}" if beginning else "",
        *([f"; {said}"] if (said := objective(module.model)) else []),
        *(f"; of each step {fraction:g} are of the {n} samples of prior=" for n, fraction in beside),
        *(f"; {sentence}" for sentence in caption_report((parts.train_set, parts.val_set), module.model)),
    ])


def _ended_by(trainer: L.Trainer, parts: Assembly) -> str:
    """What ended a run before its last step, other than a signal or an error."""
    callbacks: list[L.Callback] = vars(trainer)["callbacks"]          # Lightning declares no such attribute
    timers = [c.time_remaining() for c in callbacks if isinstance(c, L.pytorch.callbacks.Timer)]
    if any(left is not None and left <= 0 for left in timers):
        return "trainer.max_time is up"
    return parts.quality.stopped or "a callback ended it"


def source(data: DictConfig) -> str:
    """Where samples come from, in a few words: a folder, or the class that makes them."""
    return str(data["root"]) if "root" in data else f"{data['_target_'].rpartition('.')[2]} (made by code)"


def _explained(error: Exception, run: Path) -> Exception:
    """The error in the words of the user, where its cause is outside the program."""
    if not isinstance(error, RuntimeError | ConnectionError):
        return error
    text = " ".join(str(error).split())
    if isinstance(error, ConnectionError) or text.startswith("DataLoader worker"):    # it ends in either, by chance
        return ChildProcessError(f"{text}: a data worker was killed, often for memory; fewer loader.workers may help")
    return error
