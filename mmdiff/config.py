"""Configuration to objects: the one place where a ``_target_`` is followed.

Every place of a configuration has a role, the base class of what may stand there: that of an outer part is said by the
caller (``build(node, Codec)``), that of a part within it by the annotation of the parameter it goes to. A model file or
a run directory carries its configuration and may come from anybody, so all of it is checked before anything is built:
a class is of its role, and of mmdiff, an installed plug-in or the package that the role is from; a value is of the kind
that its annotation takes. Values derived from other values (channels, sample rate) are passed by the caller and never
written in YAML.
"""

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf

from . import kinds, plugins
from .adapters.base import Adapter, Codec, Conditioner, Reader
from .core.given import Given
from .core.loss import DiffusionLoss
from .core.parameterizations import Parameterization
from .core.schedules import Schedule
from .core.times import TimeDistribution
from .core.weightings import Weighting
from .data.coupling import Coupling
from .data.labels import Fields, suggest
from .model import DiffusionModel
from .nn.network import Network

CONFIG_FILE = "config.yaml"
"""The configuration in a run directory."""

TARGET = "_target_"
Part = TypeVar("Part")


class ConfigError(ValueError):
    """A mistake in the configuration, worded for the person who made it."""


def build(node: Any, role: type[Part], **derived: Any) -> Part:
    """The object that a config node describes; ``derived`` are further keyword arguments of its constructor.

    Raises ``ConfigError`` for a class that is not of the role, an unknown, missing or mistaken setting, wherever in the
    node, before anything is built; and for a value that a constructor refuses.
    """
    node = plain(node)
    check(node, (role,), derived)
    return _made(node, derived)


def plain(node: Any) -> Any:
    """A node as dicts, lists and values. Interpolations are resolved where it is Hydra's, never in plain values."""
    if isinstance(node, DictConfig | ListConfig):
        return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    return {key: plain(value) for key, value in node.items()} if isinstance(node, Mapping) else node


def check(node: Any, roles: tuple[type, ...], derived: Mapping[str, Any] | None = None, *, place: str = "") -> None:
    """Raise ``ConfigError`` for the first thing in a node that must not be built."""
    if not _is_node(node):
        place = place or " or ".join(role.__name__ for role in roles)
        raise ConfigError(f"{place} is an object: say of which class, {place.rpartition(' ')[2]}._target_=CLASS")
    made, derived = target_class(node[TARGET], *roles), derived or {}
    known = {name: p for name, p in inspect.signature(made).parameters.items() if p.kind is not p.VAR_POSITIONAL}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
    takes = kinds.annotations(made)
    for key, value in node.items():
        if key == TARGET:
            continue
        if key in derived:
            raise ConfigError(f"{made.__name__}: {key} follows from other settings, and is not set by itself")
        if key not in takes and (not open_ended or str(key).startswith("_")):
            raise ConfigError(f"{made.__name__} has no setting {key!r}: {suggest(str(key), list(takes))} "
                              "(what another choice brought along is left out by ~ and its whole key)")
        _check_value(value, takes.get(key, Any), place=f"{made.__name__}: {key}")
    for key in takes:
        if known[key].default is inspect.Parameter.empty and key not in node and key not in derived:
            raise ConfigError(f"{made.__name__}: {key} is not set")


def _check_value(value: Any, annotation: Any, *, place: str) -> None:
    parts, roles = list(_outer_parts(value)), kinds.roles(annotation)
    if isinstance(value, dict) and roles and not parts:
        check(value, roles, place=place)
    for part in parts:
        if not roles:
            raise ConfigError(f"{place} takes no object, got {part[TARGET]!r}")
        check(part, roles, place=place)
    if not parts:
        try:
            kinds.check(value, annotation, key=place)
        except kinds.KindError as error:
            raise ConfigError(str(error)) from None


def _is_node(value: Any) -> bool:
    """Whether a value says of which class it is; a field of the data may be called ``_target_`` too."""
    return isinstance(value, dict) and isinstance(value.get(TARGET), str)


def _outer_parts(value: Any) -> Iterator[dict[str, Any]]:
    """The nodes with a class in a value, but not those within them."""
    if _is_node(value):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _outer_parts(item)


def _made(value: Any, derived: Mapping[str, Any] | None = None) -> Any:
    if isinstance(value, list):
        return [_made(item) for item in value]
    if not isinstance(value, dict):
        return value
    if not _is_node(value):
        return {key: _made(item) for key, item in value.items()}
    settings = {key: _made(item) for key, item in value.items() if key != TARGET}
    made = _named(value[TARGET])
    try:
        return made(**settings, **derived or {})
    except ConfigError:
        raise
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        raise ConfigError(f"{made.__name__}: {error}") from error


def parameters(name: str) -> dict[str, inspect.Parameter]:
    """The named constructor parameters of the class that a ``_target_`` names, whatever its role."""
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = inspect.signature(target_class(name)).parameters
    return {k: p for k, p in found.items() if p.kind not in open_ended}


def complete(node: Any) -> dict[str, Any]:
    """A node as plain values, with the default of every parameter that it leaves to a signature."""
    node = plain(node)
    if _is_node(node):
        found = parameters(node[TARGET])
        node = {k: p.default for k, p in found.items() if p.default is not inspect.Parameter.empty} | node
    return {key: complete(value) if isinstance(value, dict) else value for key, value in node.items()}


def target_class(name: str, *roles: type) -> type:
    """The class that a ``_target_`` names, of one of ``roles`` where any are named.

    Raises ``ConfigError`` where it is not allowed, not there, or of another role.
    """
    homes = {".".join(role.__module__.split(".")[:2]) for role in roles} or {"lightning.pytorch"}
    allowed = ("mmdiff", *plugins.packages(), *sorted(h for h in homes if not h.startswith("mmdiff.")))
    if not _within(name, allowed) or any(word.startswith("_") for word in name.split(".")):
        raise ConfigError(
            f"_target_ {name!r} is refused: only public classes of {', '.join(allowed)} may be built here. Where it "
            "belongs to a plug-in, install that"
        )
    found = _named(name)
    if not inspect.isclass(found):
        raise ConfigError(f"_target_ {name!r} is refused: it is not a class")
    if not _within(f"{found.__module__}.{found.__qualname__}", allowed):
        raise ConfigError(f"_target_ {name!r} is refused: it is a class of {found.__module__}, which is not allowed")
    if roles and not issubclass(found, roles):
        raise ConfigError(f"_target_ {name!r} is refused: a {' or '.join(r.__name__ for r in roles)} belongs here")
    if roles and inspect.isabstract(found):
        raise ConfigError(f"_target_ {name!r} is a base class: name one of its kinds")
    return found


def _named(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise ConfigError(f"_target_ {name!r}: {error}") from error
    except AttributeError:
        known = [k for k, v in vars(importlib.import_module(module)).items() if inspect.isclass(v)]
        raise ConfigError(f"_target_ {name!r} does not exist; {suggest(attribute, known)}") from None


def _within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name.startswith(package + ".") for package in packages)


def part(node: Any, name: str) -> Any:
    """A part of a configuration. Raises ``ConfigError`` where it is not there."""
    if not isinstance(node, Mapping) or name not in node:
        raise ConfigError(f"the configuration has no {name}")
    return node[name]


def build_codec(node: Any) -> tuple[Codec, Reader]:
    """Codec and reader of an ``adapter`` node: all of it that does not depend on the data."""
    codec = build(part(node, "codec"), Codec).eval()
    return codec, build(part(node, "reader"), Reader, **codec.reading)


def build_adapter(node: Any, codec: Codec, reader: Reader, *, fields: Fields | None = None) -> Adapter:
    """The whole adapter; ``fields`` is what the data can tell of a sample (a model file's node has them already)."""
    told = {} if fields is None else {"fields": {name: list(field) for name, field in fields.items()}}
    conditioner = build(part(node, "conditioner"), Conditioner, **told)
    network = build(part(node, "network"), Network, channels=codec.channels, cond_dim=conditioner.dim)
    given, coupling = (
        None if node.get(name) is None else build(node[name], role)
        for name, role in (("given", Given), ("coupling", Coupling))
    )
    return Adapter(reader, codec, conditioner, network, given, coupling)


def build_model(adapter: Adapter, diffusion: Any) -> DiffusionModel:
    """A model of an adapter and a ``diffusion`` node: schedule, parameterization, time, weight, shift."""
    parts, loss_parts = (
        {name: build(part(diffusion, name), role) for name, role in roles}
        for roles in (
            (("schedule", Schedule), ("parameterization", Parameterization)),
            (("time", TimeDistribution), ("weight", Weighting)),
        )
    )
    rest = {name: value for name, value in diffusion.items() if name not in (*parts, *loss_parts)}
    _check_value(rest.get("shift", 1.0), float, place="diffusion.shift")
    try:
        return DiffusionModel(adapter, **parts, loss=DiffusionLoss(**loss_parts), **rest)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"diffusion: {error}") from error


def load_yaml(path: str | Path) -> DictConfig:
    """The YAML file of a run directory as a config: plain values, with an error that names the file.

    It may come from anybody: an interpolation, which could read the environment, and an alias, of which a few make a
    file of any size, are refused.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise ConfigError("it refers to parts of itself")
        config = OmegaConf.create(text)
        found = list(_interpolations(OmegaConf.to_container(config, resolve=False)))
    except Exception as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if found:
        raise ConfigError(f"{path} is refused: a run's configuration has plain values, and this has {found[0]}")
    return config


def _interpolations(value: Any) -> Iterator[str]:
    if isinstance(value, str) and re.search(r"(?<!\\)(\\\\)*\$\{", value):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _interpolations(item)


def literal(text: str) -> str:
    """A text as OmegaConf stores it: a ``${`` in it is no reference to another value."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def literals(value: Any) -> Any:
    """Plain values as OmegaConf stores them: each text in them as ``literal``."""
    if isinstance(value, dict):
        return {key: literals(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [literals(item) for item in value]
    return literal(value) if isinstance(value, str) else value


def resolved(config: DictConfig) -> DictConfig:
    """The configuration with the values that its references stand for; texts stay what they are."""
    return OmegaConf.create(literals(OmegaConf.to_container(config, resolve=True)))
