"""What a run is made of: its configuration as it is to be in force, and all that this builds."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from ..adapters.base import Adapter, Codec
from ..cache.encode import require
from ..cache.latents import Latents
from ..cache.originals import uncached
from ..config import kinds
from ..config.adapter import (
    build_codec,
    build_dataset,
    build_learner,
    is_conditional,
    parts,
    resolve_codec,
    resolve_files,
)
from ..config.build import ConfigError, build, plain
from ..config.files import MODEL_FILE, resolved
from ..config.inherit import LEARNED_PARTS
from ..config.record import Record, Setting, merged_fields, read_record
from ..core.guidance import Guidance
from ..core.types import Masked
from ..data.dataset import Dataset, Subset, spread
from ..data.labels import Fields, grown, is_text
from ..data.loaders import Loading, samples
from ..nn.offload import offload
from ..store import fill, model_config, save_model
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
from .saving import Checkpoints
from .trainer import ACCUMULATE, check_trainer

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
    trainer = build(config.trainer, L.Trainer, **dict.fromkeys(QUIET, False))
    L.seed_everything(config.seed, verbose=False)                     # initial weights; all else is keyed
    codec, reader = build_codec(config.adapter)
    known = record.fields if record else base.fields if base else {}
    dataset = build_dataset(config.data, reader, known)
    codec, reader = resolve_codec(config.adapter, codec, reader, dataset.inferred)
    there = run / MODEL_FILE                                          # the codec is whole in it
    carried = fill(codec, config, there if record and there.exists() else None)
    personal.check(config, dataset)
    found = personal.of_subject(dataset, config.subject, known).fields
    fields = fields_of(found, record, base) if is_conditional(config) else found
    if isinstance(dataset, Latents):
        if not is_conditional(config):
            raise ConfigError(f"data=latents are what a codec made of samples, and {parts(config)[1]} learns from "
                              "samples: name the data themselves")
        require(dataset.settings, config.adapter, codec, reader)
    loading = build(config.loader, Loading)
    if guidance is not None:
        _check_fields(guidance, loading, fields, config.adapter.get("controls") or {})
    plain_set, held_out = _parts(dataset, loading)
    train_set = personal.of_subject(plain_set, config.subject, known)
    val_set = personal.of_subject(held_out, config.subject, known)
    train_set.fields = val_set.fields = fields
    model = build_learner(config, codec, reader, fields=fields)
    if base is not None:
        inherit(model, base, config)
    learn(model, base, config)
    save = partial(save_change_of, base) if base is not None and config.lora is not None else save_model
    if config.branch:
        save = partial(save, branch=True)
    if dataset.consent is not None:
        save = partial(save, consent=dataset.consent)
    if carried is not None:
        _fits(codec, train_set, config)
        save = partial(save, codec=carried)
    bases = base.bases if base else record.bases if record else ()
    stored = model_config(config, codec, train_set)
    learned = personal.with_prior(train_set, plain_set, base, config, codec, reader)
    learned.fields = fields
    drawn, checked = began(model, base, config, learned, val_set)
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
    shown = val_set if len(val_set) else train_set
    preview = PreviewMaker(stored["size"], shown, n=config.preview.n)
    validation = Validation(config.validation.every if len(checked) and loading.val_samples else 0, checked, loading)
    judging = config.get("quality") or {}
    judged = train_set, val_set
    if isinstance(dataset, Latents) and judging.get("every"):
        plain_train, plain_held_out = _parts(uncached(dataset, reader), loading)
        judged = (personal.of_subject(plain_train, config.subject, known),
                  personal.of_subject(plain_held_out, config.subject, known))
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
    start = "" if base is None else f"starting from {described(base, config, fields, found)}"
    return Assembly(module, learned, val_set, callbacks, saving, quality, stored, dataset.report(), bases, start)


def _all_used(config: DictConfig) -> None:
    """Refuse what is said and would have no effect on what is trained."""
    used = parts(config)
    said = [name for name in LEARNED_PARTS if name not in used and config.get(name) is not None]
    if not is_conditional(config):
        keys = [*(f"adapter.{name}" for name in Adapter._fields if name not in ("reader", "codec")), "adapter.text",
                "subject", "prior", "few", "lora", "loader.tags"]
        said += [key for key in keys if OmegaConf.select(config, key) is not None]
        said += ["quality.every"] if OmegaConf.select(config, "quality.every") else []
    if said:
        raise ConfigError(f"{said[0]} has no effect on what {used[1]} trains: leave it out, or by {said[0]}=null")


@torch.no_grad()
def _fits(codec: Codec, dataset: Dataset, config: DictConfig) -> None:
    """Refuse samples that the codec of ``codec=`` was not made for, before anything learns."""
    if len(dataset) and not dataset.encoded:
        try:
            codec.features(Masked(dataset.read(0)[0][None]))
        except ValueError as error:
            raise ConfigError(f"codec={config.codec}: {error}") from None


def _check_fields(guidance: Guidance, loading: Loading, fields: Fields, maps: Iterable[str]) -> None:
    """Refuse what is said of fields that the model is not told."""
    try:
        guidance.check([*fields, *maps])
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if loading.tags is not None and not any(map(is_text, fields.values())):
        raise ConfigError("loader.tags words captions, and the data have none: name their columns with data.texts=, or "
                          "leave it out")


def fields_of(found: Fields, record: Record | None, base: Base | None) -> Fields:
    """What the model can be told: ``found`` in the data, and what its ``record`` run or its ``base`` know besides."""
    try:
        if record is not None:                                        # a run with a base knows more than its data tell
            return merged_fields(record, grown(record.fields, found) if record.bases else found)
        if base is not None and found and not base.fields:
            raise ConfigError(f"{base.path} was told nothing, and has no place for {', '.join(found)}: with "
                              "data.labels=[] it goes on so")
        return found if base is None else grown(base.fields, found)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _parts(dataset: Dataset, loading: Loading) -> tuple[Dataset, Dataset]:
    """What is trained on, and what is held out."""
    train_set, val_set = loading.split(dataset)
    if loading.limit is not None:
        train_set = Subset(train_set, spread(len(train_set), loading.limit))
    return train_set, val_set


def measure(module: TrainingModule) -> None:
    """Measure what the training set has to tell, such as the whitening."""
    module.model.measure(samples(module.dataset), encoded=module.dataset.encoded)
