"""The Lightning trainer, and which of its settings are for people to choose.

Lightning counts epochs, validates, saves, logs and clips in its own way; a run does these itself. Settings of that kind
would do nothing here, or harm (``limit_train_batches=4`` draws the same four batches for ever), so they are refused.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig

from ..config.build import ConfigError, build, plain
from .checkpoints import AtomicCheckpointIO
from .metrics import MetricsCsv

TAKEN = (
    "accelerator", "strategy", "devices", "num_nodes", "precision", "max_steps", "max_time", "accumulate_grad_batches",
    "deterministic", "benchmark", "detect_anomaly", "profiler", "sync_batchnorm",
)
"""Settings that do here what Lightning says of them."""
ACCUMULATE = "accumulate_grad_batches"
"""The one setting that the module does itself, as a step is the module's."""
INSTEAD = {
    "callbacks": "validation, preview, checkpoint and quality", "check_val_every_n_epoch": "validation.every",
    "default_root_dir": "run", "enable_checkpointing": "checkpoint.every", "fast_dev_run": "debug=limit",
    "gradient_clip_algorithm": "optim.clip", "gradient_clip_val": "optim.clip", "limit_train_batches": "loader.limit",
    "limit_val_batches": "loader.val_samples", "log_every_n_steps": "log.every",
    "logger": "the group logger (logger=csv)", "max_epochs": "trainer.max_steps", "min_epochs": "trainer.max_steps",
    "min_steps": "trainer.max_steps", "num_sanity_val_steps": "mmdiff plan", "overfit_batches": "debug=overfit",
    "reload_dataloaders_every_n_epochs": "loader.limit", "val_check_interval": "validation.every",
}
"""What to use in place of a setting that is refused."""


def check_trainer(settings: Iterable[str]) -> None:
    """Raise ``ConfigError`` for a setting of the trainer that would not do here what it says."""
    for name in settings:
        if not name.startswith("_") and name not in TAKEN:
            remedy = f"use {INSTEAD[name]} instead" if name in INSTEAD else f"the trainer takes {', '.join(TAKEN)}"
            raise ConfigError(f"trainer.{name} would not do here what it says: {remedy}")


def lightning_trainer(settings: Mapping[str, Any], **more: Any) -> L.Trainer:
    """Lightning's trainer of a configuration. Raises ``ConfigError`` for devices that are not there."""
    try:
        return build(settings, L.Trainer, **more)
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())} See mmdiff doctor, and trainer=cpu") from None


def build_trainer(config: DictConfig, run: Path, callbacks: list[L.Callback], *, start: int = 0) -> L.Trainer:
    """The trainer of a configuration, ``start`` being the step that the run continues from."""
    loggers: list[Logger] = [MetricsCsv(run / "metrics.csv", start=start)]
    if config.logger.tensorboard:
        loggers.append(TensorBoardLogger(run, name="tensorboard", version="", purge_step=start + 1))
    settings = {name: value for name, value in plain(config.trainer).items() if name != ACCUMULATE}
    trainer = lightning_trainer(
        settings, callbacks=callbacks, logger=loggers, plugins=[AtomicCheckpointIO()],
        default_root_dir=str(run), enable_checkpointing=True, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, num_sanity_val_steps=0, limit_val_batches=0,
    )
    if (asked := config.trainer.get("precision")) not in (None, 32, "32", trainer.precision):
        raise ConfigError(f"trainer.precision={asked} is not for this device: Lightning would take {trainer.precision}")
    return trainer
