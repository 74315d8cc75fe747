"""What a run is made of: its configuration as it is to be in force, and all that this builds."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from ..adapters.base import Adapter
from ..config import kinds
from ..config.adapter import build_learner, is_conditional, parts, resolve_files
from ..config.build import ConfigError, build, plain
from ..config.files import resolved
from ..config.inherit import LEARNED_PARTS
from ..config.record import Record, Setting, read_record
from ..core.guidance import Guidance
from ..data.dataset import Dataset
from ..data.loaders import Loading, samples
from ..learner import Learner
from ..nn.offload import offload
from ..store import model_config, save_model
from . import personal
from .base import Base, check_kind, described, inherit, save_change_of
from .blocks import prepare
from .callbacks import Previews, Validation
from .continuing import continued
from .few import began
from .learning import learn
from .module import TrainingModule
from .optim import Recipe
from .previews import PreviewMaker
from .progress import Progress, TrainingLog
from .quality import Quality
from .samples import RunData, check_codec, run_data
from .saving import Checkpoints
from .trainer import ACCUMULATE, check_trainer, lightning_trainer

say = rank_zero_only(print)
QUIET = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
"""What a trainer that is only built, for its complaints, does not start."""


class Assembly(NamedTuple):
    """All that a configuration builds, short of the trainer that needs a step to start from."""

    module: TrainingModule
    train_set: Dataset
    """The samples of the run: what it learns from, or what a teacher makes paths like."""
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


def opened(
    run: Path, config: DictConfig, overrides: Sequence[str] | None
) -> tuple[DictConfig, Record | None, list[Setting]]:
    """The resolved configuration that is to be in force, what is known of the run where it exists, and what changes."""
    record = read_record(run)
    changed: list[Setting] = []
    config = resolve_files(resolved(config))
    if record is not None:
        config, changed = continued(run, record.config, config, overrides)
    return config, record, changed


def assemble(
    config: DictConfig, run: Path, *, record: Record | None = None, base: Base | None = None
) -> Assembly:
    """Build data, model, training module and callbacks of a resolved configuration, with the fields of the ``record``
    of the run where that exists, and the weights of ``base`` where it starts from one."""
    check_trainer(config.trainer)
    _all_used(config)
    if base is not None:
        check_kind(base, config)
    guidance = build(config.guidance, Guidance) if is_conditional(config) else None  # mistakes first
    trainer = lightning_trainer(config.trainer, **dict.fromkeys(QUIET, False))
    L.seed_everything(config.seed, verbose=False)                     # initial weights; all else is keyed
    data = run_data(config, run, record=record, base=base, guidance=guidance)
    model = _model(config, data, base)
    save = _saver(config, data, base)
    bases = base.bases if base else record.bases if record else ()
    stored = model_config(config, data.codec, data.train)
    learned = personal.with_prior(data.train, data.plain, base, config, data.codec, data.reader)
    learned.fields = data.fields
    drawn, checked = began(model, base, config, learned, data.val, found=data.found)
    module = _module(config, drawn, model, data.loading, trainer)
    every = config.validation.every if len(checked) and data.loading.val_samples else 0
    validation = Validation(every, checked, data.loading)
    quality = _quality(config, run, stored, data.judged(config), validation, bases=bases, save=save)
    saving = Checkpoints(config.checkpoint.every, run, stored, keep=config.checkpoint.keep, chooser=quality,
                         bases=bases, save=save)
    previews = config.preview.every if config.preview.n else 0
    shown = PreviewMaker(stored["size"], data.val if len(data.val) else data.train, n=config.preview.n)
    callbacks = [
        Progress(previews), TrainingLog(config.log.every), validation, quality,
        Previews(previews, run / "previews", shown), saving,
    ]
    start = "" if base is None else f"starting from {described(base, config, data.fields, data.found)}"
    return Assembly(module, learned, data.val, callbacks, saving, quality, stored, data.source.report(), bases, start)


def _model(config: DictConfig, data: RunData, base: Base | None) -> Learner:
    """What learns, with the weights of ``base``, and which of them do."""
    model = build_learner(config, data.codec, data.reader, fields=data.fields)
    try:
        model.open()
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if config.get("codec") is not None and {*model.codec.parameters()} & {*model.trainable.parameters()}:
        raise ConfigError(f"codec={config.codec} makes latents that something else learns, and this run trains a "
                          f"{model.holds} itself: go on with that one by init={config.codec}")
    if base is not None:
        inherit(model, base, config)
    learn(model, base, config)
    return model


def _saver(config: DictConfig, data: RunData, base: Base | None) -> Callable[..., str]:
    """How its model file is written: whole, or as a change of ``base``, with what the file has to say besides."""
    save = partial(save_change_of, base) if base is not None and config.lora is not None else save_model
    if config.branch:
        save = partial(save, branch=True)
    if data.source.consent is not None:
        save = partial(save, consent=data.source.consent)
    if data.carried is not None:
        check_codec(data.codec, data.train, config)
        save = partial(save, codec=data.carried)
    return save


def _module(
    config: DictConfig, drawn: Dataset, model: Learner, loading: Loading, trainer: L.Trainer
) -> TrainingModule:
    """The Lightning module, its network prepared as the configuration says."""
    module = TrainingModule(
        model, drawn, optim=build(config.optim, Recipe), loading=loading, ema=plain(config.ema),
        seed=config.seed, max_steps=config.trainer.max_steps, accumulate=config.trainer.get(ACCUMULATE, 1),
        matmul=config.matmul,
    )
    prepare(model.network, recompute=config.recompute, compiled=config.compile, offload=config.offload)
    if config.offload:
        if trainer.world_size > 1:
            raise ConfigError("offload=true is for one device: over several, trainer=fsdp spreads the weights")
        for track in module.tracks:
            offload(track.average["network"])
    return module


def _quality(
    config: DictConfig, run: Path, stored: dict[str, Any], judged: tuple[Dataset, Dataset], validation: Validation, *,
    bases: Sequence[dict[str, Any]], save: Callable[..., str],
) -> Quality:
    """What judges the model while it learns. Raises ``ConfigError`` that names the setting that cannot be."""
    judging = config.get("quality") or {}
    try:
        for name, taken in kinds.annotations(Quality).items():
            if name in judging:
                kinds.check(judging[name], taken, key=name)
        return Quality(run, stored, *judged, validation, bases=bases, save=save, **judging)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"quality.{str(error).removeprefix('quality.')}") from error


def _all_used(config: DictConfig) -> None:
    """Refuse what is said and would have no effect on what is trained."""
    used = parts(config)
    said = [name for name in LEARNED_PARTS if name not in used and config.get(name) is not None]
    if not is_conditional(config):
        if config.get("few") is not None:                             # which brings some of the others
            said.insert(0, "few")
        keys = [*(f"adapter.{name}" for name in Adapter._fields if name not in ("reader", "codec")), "adapter.text",
                "subject", "prior", "lora", "loader.tags"]
        said += [key for key in keys if OmegaConf.select(config, key) is not None]
        said += ["quality.every"] if OmegaConf.select(config, "quality.every") else []
    if said:
        raise ConfigError(f"{said[0]} has no effect on what {used[1]} trains: leave it out, or by {said[0]}=null")


def measure(module: TrainingModule) -> None:
    """Measure what the training set has to tell, such as the whitening."""
    module.model.measure(samples(module.dataset), encoded=module.dataset.encoded)
