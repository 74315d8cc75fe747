"""What a run learns from: its data, read and encoded by its codec, split, and labelled with all that its model is told.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig

from ..adapters.base import Codec, Reader
from ..adapters.controls import Control
from ..cache.encode import require
from ..cache.latents import Latents
from ..cache.originals import uncached
from ..config.adapter import build_codec, build_dataset, is_conditional, parts, resolve_codec
from ..config.build import TARGET, ConfigError, build, target_class
from ..config.files import MODEL_FILE
from ..config.header import ModelFileError, model_file, read_header
from ..config.record import Record, merged_fields
from ..core.guidance import Guidance
from ..core.types import Masked
from ..data.dataset import Dataset, Subset, spread
from ..data.labels import Fields, grown, is_text, suggest
from ..data.loaders import Loading
from ..store import WHITENING, check_trained, fill
from . import personal
from .base import Base


class RunData(NamedTuple):
    """The samples of a run, with what reads them."""

    codec: Codec
    reader: Reader
    source: Dataset
    """All that was found, before it was split."""
    loading: Loading
    plain: Dataset
    """What is trained on, as it is without a subject."""
    train: Dataset
    val: Dataset
    fields: Fields
    """What the model is told."""
    found: Fields
    """What of that the data tell."""
    known: Fields
    """What the run, or the model that it starts from, knew before."""
    carried: dict[str, Any] | None
    """The facts of the file that the codec is of, where ``codec=`` has named one: for this run, or for that of
    ``init=``."""

    def judged(self, config: DictConfig) -> tuple[Dataset, Dataset]:
        """Samples for ``quality``, training and held out: read anew where the run learns from their latents."""
        if not (isinstance(self.source, Latents) and (config.get("quality") or {}).get("every")):
            return self.train, self.val
        both = _split(uncached(self.source, self.reader), self.loading)
        train, held_out = (personal.of_subject(part, config.subject, self.known) for part in both)
        return train, held_out


def run_data(
    config: DictConfig, run: Path, *, record: Record | None, base: Base | None, guidance: Guidance | None
) -> RunData:
    """The data of a resolved configuration. Raises ``ConfigError`` where they do not fit the rest of it."""
    codec, reader = build_codec(config.adapter)
    known = record.fields if record else base.fields if base else {}
    source = build_dataset(config.data, reader, known)
    codec, reader = resolve_codec(config.adapter, codec, reader, source.inferred)
    there = run / MODEL_FILE                                          # the codec is whole in it
    if is_conditional(config) and record is None and base is None:
        check_trained(codec, config)
    own = there if record and there.exists() else None
    carried = _carried(codec, config, own, base)
    personal.check(config, source)
    _check_maps(source, config)
    found = personal.of_subject(source, config.subject, known).fields
    fields = _fields(found, record, base) if is_conditional(config) else found
    if isinstance(source, Latents):
        if not is_conditional(config):
            raise ConfigError(f"data=latents are what a codec made of samples, and {parts(config)[1]} learns from "
                              "samples: name the data themselves")
        require(source.settings, config.adapter, codec, reader)
    loading = build(config.loader, Loading)
    if guidance is not None:
        _check_fields(guidance, loading, fields, config.adapter.get("controls") or {})
    plain, held_out = _split(source, loading)
    train = personal.of_subject(plain, config.subject, known)
    val = personal.of_subject(held_out, config.subject, known)
    if record is None:
        personal.check_named(config, found, known)
        personal.check_subject(train, base, loading)
    train.fields = val.fields = fields
    return RunData(codec, reader, source, loading, plain, train, val, fields, found, known, carried)


@torch.no_grad()
def _carried(codec: Codec, config: DictConfig, own: Path | None, base: Base | None) -> dict[str, Any] | None:
    """The facts of the file that the codec is of, where a run was told one. Its weights are read: from the run's
    ``own`` model file where that has them, else from what ``codec=`` names, or from the ``base``."""
    if own is None and base is None and config.init is not None:      # its model file is gone, and made again
        with suppress(ModelFileError):
            own = model_file(config.init)
    change = own is not None and "base" in read_header(own)           # it has no codec: that is its base's
    if config.get("codec") is not None and not change:
        return fill(codec, config, own)
    if base is not None:                                              # what does not fit is told by ``inherit``
        there, here = base.model.codec.state_dict(), codec.state_dict()
        for name in here.keys() & there.keys() - {*WHITENING}:
            if here[name].shape == there[name].shape:
                here[name].copy_(there[name])
    elif own is not None:
        fill(codec, config, own)
    whole = own or (base and base.path)
    return None if whole is None else read_header(whole).get("codec")


@torch.no_grad()
def check_codec(codec: Codec, dataset: Dataset, config: DictConfig) -> None:
    """Refuse samples that the codec of ``codec=`` or ``init=`` was not made for, before anything learns."""
    if len(dataset) and not dataset.encoded:
        try:
            codec.features(Masked(dataset.read(0)[0][None]))
        except ValueError as error:
            named = "init" if config.get("codec") is None else "codec"
            raise ConfigError(f"{named}={config[named]}: {error}") from None


def _check_fields(guidance: Guidance, loading: Loading, fields: Fields, maps: Iterable[str]) -> None:
    """Refuse what is said of fields that the model is not told."""
    try:
        guidance.check([*fields, *maps])
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if loading.tags is not None and not any(map(is_text, fields.values())):
        raise ConfigError("loader.tags words captions, and the data have none: name their columns with data.texts=, or "
                          "leave it out")


def _check_maps(source: Dataset, config: DictConfig) -> None:
    """Refuse files of maps that are not followed, and maps that need files where there are none."""
    nodes = config.adapter.get("controls") or {} if is_conditional(config) else {}
    if not isinstance(source, Latents) and (unknown := [name for name in source.maps if name not in nodes]):
        raise ConfigError(f"data.maps.{unknown[0]} is of no effect: nothing follows a map of that name; "
                          f"adapter/controls= chooses maps, {suggest(unknown[0], list(nodes))}")
    for name, node in nodes.items():
        control: type[Control] | None = None if node is None else target_class(str(node[TARGET]), Control)
        if control is not None and control.of_files and name not in source.maps:
            latents = "these latents were encoded without them: mmdiff encode " if isinstance(source, Latents) else ""
            raise ConfigError(f"the map {name} is made of files beside the samples: {latents}data.maps.{name}=FOLDER")
    kind = (config.adapter.get("coupling") or {}).get("kind", "independent")
    if source.maps and any(name in nodes for name in source.maps) and kind != "independent":
        raise ConfigError("adapter.coupling reorders what a sample is made of, and what data.maps has beside it is in "
                          "the order of the file: use one")


def _fields(found: Fields, record: Record | None, base: Base | None) -> Fields:
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


def _split(dataset: Dataset, loading: Loading) -> tuple[Dataset, Dataset]:
    """What is trained on, and what is held out."""
    train_set, val_set = loading.split(dataset)
    if loading.limit is not None:
        train_set = Subset(train_set, spread(len(train_set), loading.limit))
    return train_set, val_set
