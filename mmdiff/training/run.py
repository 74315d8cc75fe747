"""One run, one directory:

    config.yaml  data.json  metrics.csv  tensorboard/  previews/  checkpoints/  model.safetensors

A directory that holds a run is continued; one that does not is started.
"""

import json
import logging
import statistics
import warnings
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from ..checkpoint import write_atomic
from ..config import ConfigError, build, build_adapter, build_codec, build_model, load_yaml
from ..core.rng import Purpose, stream
from ..data.dataset import Dataset, split
from ..data.loaders import Loading, eval_loader, samples
from ..generate import Pipeline, Request
from ..model import DiffusionModel
from .callbacks import Checkpoints, Previews, Validation
from .checkpoints import AtomicCheckpointIO, latest
from .metrics import MetricsCsv
from .module import TrainingModule
from .progress import Progress, TrainingLog

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)       # the run says itself what matters
warnings.filterwarnings("ignore", module=r"lightning\.pytorch")

CONFIG_FILE = "config.yaml"
PARTS = ("adapter", "diffusion", "sampler", "guidance")


class Interrupted(Exception):
    """The run was stopped by a signal after it had been saved."""


def train(config: DictConfig, overrides: list[str] = ()) -> Path:
    """Train, or continue, the run of ``config.run``; gives its directory.

    On an existing run only value overrides count, and they are applied to the configuration it was started with.
    Raises ``ConfigError`` for a mistake of the user, ``Interrupted`` after a signal.
    """
    run = Path(config.run).expanduser()
    resuming = (run / CONFIG_FILE).exists()
    if resuming:
        config = _continued(run, list(overrides))
    OmegaConf.resolve(config)
    L.seed_everything(config.seed, verbose=False)                     # initial weights; all else is keyed

    codec, reader = build_codec(config.adapter)
    dataset = build(config.data, reader=reader)
    loading: Loading = build(config.loader)
    train_set, val_set = split(dataset, loading.val)
    adapter = build_adapter(config.adapter, codec, reader, fields=dataset.fields)
    model = build_model(adapter, config.diffusion)
    checkpoint = latest(run / "checkpoints")
    print(f"{run}: {len(train_set)} training and {len(val_set)} validation samples, {_count(model)} parameters"
          + (f", continuing from step {checkpoint[1]}" if checkpoint else ""))
    if checkpoint is None:
        codec.fit(samples(train_set))

    size = _median_size(codec, train_set)
    if not resuming:
        run.mkdir(parents=True, exist_ok=True)
        write_atomic(run / "data.json", json.dumps(dataset.report(), indent=1).encode())
        write_atomic(run / CONFIG_FILE, OmegaConf.to_yaml(config).encode())
    stored = {name: OmegaConf.to_container(config[name]) for name in PARTS}
    stored["adapter"]["conditioner"]["fields"] = {name: list(field) for name, field in dataset.fields.items()}
    stored["size"] = size

    module = TrainingModule(
        model, train_set, optim=build(config.optim), loading=loading, ema=OmegaConf.to_container(config.ema),
        seed=config.seed, max_steps=config.trainer.max_steps,
    )
    saving = Checkpoints(config.checkpoint.every, run, stored, keep=config.checkpoint.keep)
    callbacks = [
        Progress(loading.batch_size, config.preview.every),
        TrainingLog(config.log.every),
        *_validation(config, val_set, loading),
        *_previews(config, run, stored, val_set if len(val_set) else train_set),
        saving,
    ]
    trainer: L.Trainer = build(
        config.trainer, callbacks=callbacks, logger=_loggers(config, run, checkpoint[1] if checkpoint else 0),
        plugins=[AtomicCheckpointIO()], gradient_clip_val=module.optim.clip or None, default_root_dir=str(run),
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, num_sanity_val_steps=0, limit_val_batches=0,
    )
    trainer.fit(module, ckpt_path=checkpoint[0] if checkpoint else None, weights_only=True)
    if saving.signal is not None:
        raise Interrupted(f"saved at step {trainer.global_step}; go on with: mmdiff train run={run}")
    return run


def _continued(run: Path, overrides: list[str]) -> DictConfig:
    config = load_yaml(run / CONFIG_FILE)
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key == "run":
            continue
        current = OmegaConf.select(config, key)
        if isinstance(current, DictConfig) or "." not in key:
            raise ConfigError(f"{run} exists and keeps its {key}; start a new run to change it")
        OmegaConf.update(config, key, OmegaConf.from_dotlist([f"value={value}"]).value, force_add=True)
    return config


def _count(model: DiffusionModel) -> str:
    return f"{sum(p.numel() for p in model.trainable.parameters()) / 1e6:.2f} M"


def _median_size(codec: Any, dataset: Dataset, count: int = 101) -> dict[str, float]:
    """The size of a sample where a request names none."""
    chosen = range(0, len(dataset), max(1, len(dataset) // count))
    sizes = [codec.size(dataset.read(i)[0]) for i in chosen]
    return {name: statistics.median(size[name] for size in sizes) for name in sizes[0]}


def _loggers(config: DictConfig, run: Path, start: int) -> list[Logger]:
    loggers: list[Logger] = [MetricsCsv(run / "metrics.csv", start=start)]
    if config.logger.tensorboard:
        loggers.append(TensorBoardLogger(run, name="tensorboard", version="", purge_step=start + 1))
    return loggers


def _validation(config: DictConfig, val_set: Dataset, loading: Loading) -> list[Validation]:
    if not len(val_set) or not config.validation.every:
        return []

    def loader(trainer: L.Trainer):
        return eval_loader(
            val_set, loading.batch_size // trainer.world_size or 1, limit=loading.val_samples,
            rank=trainer.global_rank, world=trainer.world_size,
        )

    return [Validation(config.validation.every, loader)]


def _previews(config: DictConfig, run: Path, stored: dict[str, Any], dataset: Dataset) -> list[Previews]:
    if not config.preview.every or not config.preview.n:
        return []
    rng = stream(config.seed, 0, Purpose.DATA)
    labels = [dataset.read(int(i))[1] for i in rng.integers(len(dataset), size=config.preview.n)]

    def make(model: DiffusionModel, folder: Path) -> Path:
        pipeline = Pipeline(model, {"config": stored, "sha256": None})
        requests = [Request(seed=i, labels=row) for i, row in enumerate(labels)]
        folder.mkdir(parents=True, exist_ok=True)
        made = [sample for _, sample in pipeline.run(requests, len(requests), show_progress=False)]
        for request, sample in zip(requests, made, strict=True):
            model.codec.save(sample, folder / f"{request.seed:02d}{model.codec.suffix}")
        return model.codec.preview(made, [request.title for request in requests], folder / "preview.png")

    return [Previews(config.preview.every, run / "previews", make)]
