"""The model that a run starts from (``init=``): its weights, its whitening, and in words what the run changes of it.

    network, codec     every tensor as it is, or the run does not start
    conditioner        tables grow by name, see ``Conditioner.inherit``
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ..adapters.base import Codec
from ..change import tensors_of
from ..config.adapter import is_conditional, learner_class, parts
from ..config.build import TARGET, ConfigError, target_class
from ..config.files import literal
from ..config.header import ModelFileError, chain, model_file, read_header
from ..config.inherit import BRINGS, parts_of
from ..config.record import Record, Setting
from ..data.labels import Fields, class_names, is_scalar
from ..learner import Learner
from ..nn.branch import Branched
from ..nn.network import Network, is_pretrained
from ..nn.tensors import inherit as begin
from ..nn.tensors import load_tensors
from ..store import WHITENING, generating, load_learner, save_change
from .adopting import adopt
from .continuing import changes

ADOPTED = "base.safetensors"
"""The file in a run directory that names the public model that the run changes."""


class Base(NamedTuple):
    """A model to start from, and where it is."""

    path: Path
    model: Learner
    header: dict[str, Any]

    @property
    def fields(self) -> Fields:
        """What it can be told."""
        return self.model.fields

    @property
    def bases(self) -> list[dict[str, Any]]:
        """It and those that it came from, nearest first."""
        return chain(self.path, self.header)

    @property
    def parts(self) -> DictConfig:
        """Its groups of a training configuration."""
        return OmegaConf.create(parts_of(self.header, self.path))


def base_of(config: DictConfig, record: Record | None, *, resumed: bool, folder: Path | None = None) -> Base | None:
    """The model that a run starts from; None without one, and where a checkpoint has all of the weights by now (it
    leaves out what does not learn) and nothing else is asked of it.

    A public model that is trained is adopted in ``folder`` (default: the run's) first, and started from there. Raises
    ``ConfigError`` where the run that goes on started from another one.
    """
    run = Path(config.run).expanduser()
    if config.get("init") is None and pretrained(config):
        config.init = literal(str(adopt(config, (folder or run) / ADOPTED)))
    if config.get("init") is None:
        return None
    beside = (config.train.only, config.lora, config.get("prior"), config.get("subject"), config.get("few"))
    plain = all(part is None for part in beside)
    if resumed and plain and record is not None and record.config.init == config.init:
        return None
    moved = record is not None and Path(config.init).name == ADOPTED              # with the run
    try:
        path = run / ADOPTED if moved else model_file(config.init)
    except ModelFileError as error:
        remedy = "" if record is None else f", where {record.run} began: init= names its place where it has moved"
        raise ModelFileError(f"{error}{remedy}") from None
    public = parts_of(read_header(path), path).get("adapter", {}).get("model") is not None
    weights = str(config.adapter.model) if public and pretrained(config) else None              # they may have moved
    base = Base(path, *load_learner(path, base=config.get("base"), encoder=weights))
    base.model.eval().requires_grad_(False)
    if record is not None and record.bases[0]["sha256"] != base.header["sha256"]:
        began = record.bases[0]
        raise ConfigError(f"{record.run} started from {began['name']} of hash {began['sha256'][:8]}, and {path} has "
                          f"{base.header['sha256'][:8]}: bring that back, or begin another run with run=")
    return base


def check_kind(base: Base, config: DictConfig) -> None:
    """Refuse a base that is of another kind than what the run trains, or has a branch."""
    if isinstance(base.model.network, Branched):
        raise ConfigError(f"init={config.init} is a branch, which is asked beside the network of its base: start "
                          "from that base, and add both when sampling, lora=BRANCH,OTHER")
    if (kind := learner_class(config).holds) != (there := base.model.holds):
        raise ConfigError(f"init={config.init} holds a {there}, and this run trains a {kind}: name a {kind}, or leave "
                          "out what chooses another than that of init=")


def pretrained(config: DictConfig) -> bool:
    """Whether the network of a configuration is that of a public model."""
    node = config.adapter.get("network")
    return node is not None and is_pretrained(target_class(str(node.get(TARGET)), Network))


def inherit(model: Learner, base: Base, config: DictConfig) -> None:
    """Start ``model``, built of ``config``, with all of the base's weights, its whitening included.

    Raises ``ConfigError`` where a part is of another kind or size.
    """
    here, there = type(model.codec).__name__, type(base.model.codec).__name__
    if here != there:
        raise ConfigError(f"init={config.init} is a model of the latents of {there}, and adapter.codec is {here}: "
                          "name no adapter, as init= brings its own along, or one of its modality")
    changed = list(_changes(base, config))
    new = _replaced(model.codec, changed, config)
    codec = {name: value for part, kept in ((base.model.codec, False), (model.codec, True))
             for name, value in part.state_dict().items() if (name.split(".")[0] in new) == kept}
    _same_codec(model.codec, codec, config)
    _same_maps(model, base, config)
    trainable, other = model.trainable, base.model.trainable
    if gone := [name for name in other if name not in trainable]:
        raise ConfigError(f"init={config.init} has learned {gone[0]}, for which this run has no place: leave out what "
                          "chooses another diffusion than its own")
    starts = {name: partial(begin, trainable[name], other[name]) for name in trainable if name in other}
    for name, start in {"codec": partial(load_tensors, model.codec, codec), **starts}.items():
        try:
            start()
        except ValueError as error:
            keys = [change.key for change in changed if change.key.startswith("adapter.")]
            cause = f"which {', '.join(keys)} would change" if keys else "which is not that of these data"
            raise ConfigError(f"init={config.init} has its own adapter.{name}, {cause}: {error}") from error


def _same_codec(codec: Codec, tensors: Mapping[str, Tensor], config: DictConfig) -> None:
    """Refuse a codec that ``codec=`` names where it is not that of the base, whose ``tensors`` would replace it."""
    own = {name: value for name, value in codec.state_dict().items() if name not in WHITENING}
    if config.get("codec") is not None and not all(
        name not in tensors or torch.equal(value, tensors[name]) for name, value in own.items()
    ):
        raise ConfigError(f"init={config.init} works on latents of its own codec, and codec={config.codec} is another: "
                          "leave codec= out, or begin without init=")


def _same_maps(model: Learner, base: Base, config: DictConfig) -> None:
    """Refuse maps that do not begin with those of the base: the network tells them apart by their order."""
    controls, there = list(model.controls), list(base.model.controls)
    if controls[: len(there)] != there:
        raise ConfigError(f"init={config.init} follows the maps {', '.join(there)}, and adapter.controls has "
                          f"{', '.join(controls) or 'none'}: new ones come after them")
    if there and controls != there and config.lora is not None:
        raise ConfigError(f"lora= adds maps to a model without any, and init={config.init} follows {', '.join(there)}: "
                          f"leave adapter.controls.{controls[len(there)]} out, or lora=")


def _replaced(codec: Codec, changed: Sequence[Setting], config: DictConfig) -> set[str]:
    """Modules of a codec that are chosen anew, as latents do not depend on them. Raises ``ConfigError`` for others."""
    names = {change: change.key.split(".")[2] for change in changed if change.key.startswith("adapter.codec.")}
    if keys := [change for change, name in names.items() if name not in codec.incidental]:
        listed = "; ".join(f"{change.key} is {change.old} there, {change.new} here" for change in keys[:5])
        raise ConfigError(f"init={config.init} works on latents of its own codec: {listed}. Leave that out, or begin "
                          "without init=")
    return set(names.values())


def _changes(base: Base, config: DictConfig) -> Iterator[Setting]:
    return changes(base.parts, OmegaConf.masked_copy(config, list(parts(config))))


def save_change_of(base: Base, model: Learner, config: dict[str, Any], path: Path, **facts: Any) -> str:
    """Write what ``model`` adds to its base, as ``save_model`` writes a model."""
    tensors = tensors_of(generating(model, path), generating(base.model, base.path))
    return save_change(tensors, config, path, base=base.path, **facts)


def described(base: Base, config: DictConfig, fields: Fields, found: Fields) -> str:
    """Which model a run starts from, and what it changes of it; ``found`` are the fields of the data."""
    changes = "; ".join(_differences(base, config, fields, found)) or "nothing"
    at = "" if base.header.get("step") is None else f" (step {base.header['step']})"          # a public model has none
    return f"{config.init}{at}, of which differs: {changes}"


def _differences(base: Base, config: DictConfig, fields: Fields, found: Fields) -> Iterator[str]:
    for name, field in fields.items() if is_conditional(config) else ():         # a codec is told nothing
        if name not in base.fields:
            yield f"{name} is new"
        elif name not in found:
            yield f"{name} is not told"
        elif is_scalar(field):
            (low, high), (least, most) = map(float, found[name]), map(float, field)
            if low < least or most < high:
                yield f"{name} goes from {low:g} to {high:g}, where the model knows {least:g} to {most:g}"
        elif new := class_names(field)[len(base.fields[name]):]:
            yield f"{name} also is {_listed(new)}"
    brought = BRINGS["few"] if config.get("few") is not None else ()
    if "guidance" in brought and (new := config.guidance.get("scale")) != (old := base.parts.guidance.get("scale")):
        yield f"guidance.scale is {new}, was {old}"
    for change in _changes(base, config):
        if change.key.partition(".")[0] not in brought:
            yield f"{change.key} is {change.new}, was {change.old}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
