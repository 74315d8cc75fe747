"""One run, one directory:

    config.yaml  data.json  metrics.csv  tensorboard/  previews/  checkpoints/  model.safetensors

A directory that holds a run is continued; one that does not is started.
"""

import json
import logging
import os
import shlex
import signal
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from ..checkpoint import model_config
from ..config import CONFIG_FILE, ConfigError, build, build_adapter, build_codec, build_model, load_yaml, resolved
from ..core.guidance import Guidance
from ..core.samplers import Sampler
from ..data.dataset import Dataset, Subset, split, spread
from ..data.loaders import Loading, samples
from ..encode import require, uncached
from ..evaluation.scores import LEAST
from .blocks import prepare
from .callbacks import Previews, Records, Validation
from .checkpoints import AtomicCheckpointIO, latest
from .lock import locked
from .metrics import MetricsCsv
from .module import TrainingModule
from .optim import Recipe
from .previews import PreviewMaker
from .progress import Progress, TrainingLog
from .quality import Quality
from .saving import Checkpoints

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


@quiet()
def train(config: DictConfig, overrides: Sequence[str] = ()) -> Path:
    """Train, or continue, the run of ``config.run``; gives its directory.

    On an existing run only value overrides count, and they are applied to the configuration it was started with.
    Raises ``ConfigError`` for a mistake of the user, ``Interrupted`` after a signal.
    """
    run = Path(config.run).expanduser()
    resuming = (run / CONFIG_FILE).exists()
    if resuming:
        config = continued(run, config, overrides)
    config = resolved(config)
    parts = assemble(config, run)
    module, checkpoint = parts.module, latest(run / "checkpoints")
    count = sum(p.numel() for p in module.model.trainable.parameters())
    few = " (too few for mmdiff eval)" if len(parts.val_set) < LEAST else ""
    say(f"{run}: {len(module.dataset)} training and {len(parts.val_set)} validation samples{few} of "
        f"{source(config.data)}, {len(parts.report['skipped'])} skipped (see data.json), {count / 1e6:.2f} M parameters"
        + (f", continuing from step {checkpoint[1]}" if checkpoint else ""))
    if checkpoint and checkpoint[0].is_dir() and isinstance(config.trainer.strategy, str):
        raise ConfigError(f"{run} has sharded checkpoints: go on with the trainer.strategy that it began with")
    if checkpoint is None:
        fit_codec(module)
    if not resuming:
        parts.callbacks.insert(0, Records(run, {
            "data.json": json.dumps(parts.report, indent=1), CONFIG_FILE: OmegaConf.to_yaml(config),
        }))
    with locked(run):
        trainer = build_trainer(config, run, parts, start=checkpoint[1] if checkpoint else 0)
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


def named(run: Path) -> str:
    """The word that names a run in a shell."""
    return shlex.quote(f"run={run}")


def _ended_by(trainer: L.Trainer, parts: Assembly) -> str:
    """What ended a run before its last step, other than a signal or an error."""
    timers = [c.time_remaining() for c in trainer.callbacks if isinstance(c, L.pytorch.callbacks.Timer)]
    if any(left is not None and left <= 0 for left in timers):
        return "trainer.max_time is up"
    return parts.quality.stopped or "trainer.max_epochs or a callback ended it"


def source(data: DictConfig) -> str:
    """Where samples come from, in a few words: a folder, or the class that makes them."""
    return str(data["root"]) if "root" in data else f"{data['_target_'].rpartition('.')[2]} (made by code)"


def assemble(config: DictConfig, run: Path) -> Assembly:
    """Build data, model, training module and callbacks of a resolved configuration."""
    for name, role in (("sampler", Sampler), ("guidance", Guidance)):      # a mistake is told before the training
        build(config[name], role)
    build(config.trainer, L.Trainer, **dict.fromkeys(QUIET, False))
    L.seed_everything(config.seed, verbose=False)                     # initial weights; all else is keyed
    codec, reader = build_codec(config.adapter)
    dataset = build(config.data, Dataset, reader=reader)
    if dataset.encoded:
        require(dataset.settings, config.adapter, codec, reader)
    loading = build(config.loader, Loading)
    train_set, val_set = _parts(dataset, loading)
    model = build_model(build_adapter(config.adapter, codec, reader, fields=dataset.fields), config.diffusion)
    stored = model_config(config, codec, train_set)
    module = TrainingModule(
        model, train_set, optim=build(config.optim, Recipe), loading=loading, ema=OmegaConf.to_container(config.ema),
        seed=config.seed, max_steps=config.trainer.max_steps,
    )
    prepare(model.denoiser.network, recompute=config.recompute, compiled=config.compile)
    shown = val_set if len(val_set) else train_set
    preview = PreviewMaker(stored, shown, n=config.preview.n)
    validation = Validation(config.validation.every if len(val_set) and loading.val_samples else 0, val_set, loading)
    judging = config.get("quality") or {}
    judged = train_set, val_set
    if dataset.encoded and judging.get("every"):
        judged = _parts(uncached(dataset, reader), loading)
    try:
        quality = Quality(run, stored, *judged, validation, **judging)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"quality: {error}") from error
    saving = Checkpoints(config.checkpoint.every, run, stored, keep=config.checkpoint.keep, chooser=quality)
    callbacks = [
        Progress(config.preview.every if config.preview.n else 0),
        TrainingLog(config.log.every),
        validation,
        quality,
        Previews(config.preview.every if config.preview.n else 0, run / "previews", preview),
        saving,
    ]
    return Assembly(module, val_set, callbacks, saving, quality, stored, dataset.report())


def _parts(dataset: Dataset, loading: Loading) -> tuple[Dataset, Dataset]:
    """What is trained on, and what is held out."""
    train_set, val_set = split(dataset, loading.val)
    if loading.limit is not None:
        train_set = Subset(train_set, spread(len(train_set), loading.limit))
    return train_set, val_set


def fit_codec(module: TrainingModule) -> None:
    """Measure the whitening on the training set."""
    codec, dataset = module.model.codec, module.dataset
    (codec.measure if dataset.encoded else codec.fit)(samples(dataset))


def build_trainer(config: DictConfig, run: Path, parts: Assembly, *, start: int = 0) -> L.Trainer:
    """The Lightning trainer, ``start`` being the step that the run continues from."""
    loggers: list[Logger] = [MetricsCsv(run / "metrics.csv", start=start)]
    if config.logger.tensorboard:
        loggers.append(TensorBoardLogger(run, name="tensorboard", version="", purge_step=start + 1))
    trainer = build(
        config.trainer, L.Trainer, callbacks=parts.callbacks, logger=loggers, plugins=[AtomicCheckpointIO()],
        default_root_dir=str(run), enable_checkpointing=True, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, num_sanity_val_steps=0, limit_val_batches=0,
    )
    if (asked := config.trainer.get("precision")) not in (None, 32, "32", trainer.precision):
        raise ConfigError(f"trainer.precision={asked} is not for this device: Lightning would take {trainer.precision}")
    return trainer


def _explained(error: Exception, run: Path) -> Exception:
    """The error in the words of the user, where its cause is outside the program."""
    if not isinstance(error, RuntimeError | ConnectionError):
        return error
    text = " ".join(str(error).split())
    if isinstance(error, ConnectionError) or text.startswith("DataLoader worker"):    # it ends in either, by chance
        return ChildProcessError(f"{text}: a data worker was killed, often for memory; fewer loader.workers may help")
    if "loading state_dict" in text or "checkpoint state_dict" in text:
        return ConfigError(f"the checkpoints of {run} are of another version of mmdiff or of another model: {text}")
    return error


def requeue() -> None:
    """Put the SLURM job that this is back into the queue; it will continue the run. Nothing where there is no job."""
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID")
    if job is not None:
        name = job if array is None else f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
        subprocess.run(["scontrol", "requeue", name], check=True)


def continued(run: Path, asked: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration of an existing run with values changed; a group may be named again, but not changed."""
    config, groups = load_yaml(run / CONFIG_FILE), []
    for key in asked:                                                 # what a run of an earlier version did not know
        if key not in config:
            config[key] = asked[key]
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if isinstance(OmegaConf.select(config, key), DictConfig) or "/" in key or key in {"experiment", "debug"}:
            groups.append(key)
        elif key != "run":
            OmegaConf.update(config, key, OmegaConf.from_dotlist([f"value={value}"]).value, force_add=True)
    before, now = OmegaConf.to_container(config), OmegaConf.to_container(asked, resolve=True)
    for group in groups:
        part = group.split("/")[0]
        parts = [part] if part in now and part not in {"experiment", "debug"} else [p for p in now if p != "run"]
        if changed := [p for p in parts if now[p] != before.get(p)]:
            raise ConfigError(
                f"{run} exists and keeps its {', '.join(changed)}, which {group}=... would change. To go on with it as "
                f"it is: mmdiff train {named(run)}"
            )
    return config
