"""Configuration to objects: the one place where a ``_target_`` is followed.

A model file carries its configuration, so a target must be a class of an allowed package or of an installed plug-in;
anything else is refused by name before anything is imported. Values derived from other values (channels, sample rate)
are passed by the caller and never written in YAML.
"""

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig, OmegaConf

from . import plugins
from .adapters.base import Adapter, Codec, Reader
from .core.loss import DiffusionLoss
from .data.labels import Fields, suggest
from .model import DiffusionModel

TRAINING_PACKAGES = ("mmdiff", "torch", "lightning", "torchmetrics")
MODEL_PACKAGES = ("mmdiff", "torch.nn")
CONFIG_FILE = "config.yaml"
"""The configuration in a run directory."""


class ConfigError(ValueError):
    """A mistake in the configuration, worded for the person who made it."""


def build(node: Any, *, allowed: tuple[str, ...] = TRAINING_PACKAGES, **derived: Any) -> Any:
    """The object that a config node describes; ``derived`` are further keyword arguments of its constructor.

    Raises ``ConfigError`` for a target outside ``allowed``, an unknown argument or a value that a constructor refuses.
    """
    node = OmegaConf.create(node) if isinstance(node, dict) else node
    for part, made in [(part, target_class(str(part["_target_"]), allowed)) for part in described(node)]:
        _check_settings(part, made)
    try:
        return hydra.utils.instantiate(node, _convert_="all", **derived)
    except InstantiationException as error:
        cause = error.__cause__ or error
        where = node.get("_target_", "?").rsplit(".", 1)[-1]
        raise ConfigError(f"{where}: {cause}") from cause


def _check_settings(part: Any, made: type) -> None:
    known = inspect.signature(made).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
    for key in [str(k) for k in part if not str(k).startswith("_")]:
        if key in known:
            value, wanted = part.get(key), known[key].annotation
            if wanted in (int, float) and isinstance(value, str) and value != "???":
                raise ConfigError(f"{made.__name__}: {key} is a number, got {value!r}")
            if isinstance(value, Mapping) and "_target_" not in value and not _takes_mapping(wanted):
                raise ConfigError(f"{made.__name__}: {key} is an object: say of which class, {key}._target_=CLASS")
            if wanted is int and isinstance(value, float):
                raise ConfigError(f"{made.__name__}: {key} is a whole number, got {value}")
        elif not open_ended:
            raise ConfigError(f"{made.__name__} has no setting {key!r}: {suggest(key, list(known))} "
                              "(what another choice brought along is left out by ~ and its whole key)")


def _takes_mapping(annotation: Any) -> bool:
    """Whether a parameter may be a mapping; one whose annotation does not say may."""
    said = not isinstance(annotation, str) and annotation is not inspect.Parameter.empty
    return not said or re.search("Mapping|dict|Any", str(annotation)) is not None


def described(node: Any) -> Iterator[Any]:
    """All parts of a config that have a ``_target_``."""
    if isinstance(node, DictConfig | dict):
        if "_target_" in node:
            yield node
        for key in node:
            if not (isinstance(node, DictConfig) and OmegaConf.is_missing(node, key)):
                yield from described(node[key])
    elif isinstance(node, ListConfig | list):
        for item in node:
            yield from described(item)


def signature(name: str, allowed: tuple[str, ...] = TRAINING_PACKAGES) -> dict[str, inspect.Parameter]:
    """The named constructor parameters of a target."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(target_class(name, allowed)).parameters
    return {k: p for k, p in parameters.items() if p.kind not in kinds}


def complete(node: Any) -> dict[str, Any]:
    """A node as plain values, with the default of every parameter that it leaves to a signature."""
    node = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)
    if "_target_" in node:
        parameters = signature(node["_target_"])
        node = {k: p.default for k, p in parameters.items() if p.default is not inspect.Parameter.empty} | node
    return {key: complete(value) if isinstance(value, dict) else value for key, value in node.items()}


def target_class(name: str, allowed: tuple[str, ...] = TRAINING_PACKAGES) -> type:
    """The class that a ``_target_`` names; ``ConfigError`` where it is not allowed or not there."""
    allowed = (*allowed, *plugins.packages())
    if not _within(name, allowed):
        raise ConfigError(
            f"_target_ {name!r} is refused: only classes of {', '.join(allowed)} may be built. Where it belongs to a "
            "plug-in, install that"
        )
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise ConfigError(f"_target_ {name!r}: {error}") from error
    except AttributeError:
        known = [k for k, v in vars(importlib.import_module(module)).items() if inspect.isclass(v)]
        raise ConfigError(f"_target_ {name!r} does not exist; {suggest(attribute, known)}") from None
    if not inspect.isclass(found):
        raise ConfigError(f"_target_ {name!r} is refused: it is not a class")
    if not _within(f"{found.__module__}.{attribute}", allowed):
        raise ConfigError(f"_target_ {name!r} is refused: it is a class of {found.__module__}, which is not allowed")
    return found


def _within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name.startswith(package + ".") for package in packages)


def build_codec(node: Any, *, allowed: tuple[str, ...] = TRAINING_PACKAGES) -> tuple[Codec, Reader]:
    """Codec and reader of an ``adapter`` node: all of it that does not depend on the data."""
    codec = build(node["codec"], allowed=allowed)
    return codec, build(node["reader"], allowed=allowed, **codec.reading)


def build_adapter(
    node: Any, codec: Codec, reader: Reader, *, fields: Fields | None = None,
    allowed: tuple[str, ...] = TRAINING_PACKAGES,
) -> Adapter:
    """The whole adapter; ``fields`` is what the data can tell of a sample (a model file's node has them already)."""
    told = {} if fields is None else {"fields": {name: list(field) for name, field in fields.items()}}
    conditioner = build(node["conditioner"], allowed=allowed, **told)
    network = build(node["network"], allowed=allowed, channels=codec.channels, cond_dim=conditioner.dim)
    optional = {
        name: build(node[name], allowed=allowed) for name in ("given", "coupling") if node.get(name) is not None
    }
    return Adapter(reader, codec, conditioner, network, **optional)


def build_model(
    adapter: Adapter, diffusion: Any, *, allowed: tuple[str, ...] = TRAINING_PACKAGES
) -> DiffusionModel:
    """A model of an adapter and a ``diffusion`` node: schedule, parameterization, time, weight, shift."""
    diffusion = dict(diffusion)
    parts = {name: build(diffusion.pop(name), allowed=allowed) for name in ("schedule", "parameterization")}
    loss_parts = {name: build(diffusion.pop(name), allowed=allowed) for name in ("time", "weight")}
    try:
        return DiffusionModel(adapter, **parts, loss=DiffusionLoss(**loss_parts), **diffusion)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"diffusion: {error}") from error


def load_yaml(path: str | Path) -> DictConfig:
    """A YAML file as a config, with an error that names it."""
    try:
        return OmegaConf.load(path)
    except Exception as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
