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
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from omegaconf import DictConfig, ListConfig, OmegaConf

from ..data.labels import suggest
from . import kinds, plugins

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
    return _construct(node, derived)


def plain(node: Any) -> Any:
    """A node as dicts, lists and values. Interpolations are resolved where it is Hydra's, never in plain values."""
    if isinstance(node, DictConfig | ListConfig):
        return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    return {key: plain(value) for key, value in node.items()} if isinstance(node, Mapping) else node


def check(node: Any, roles: tuple[type, ...], derived: Mapping[str, Any] | None = None, *, where: str = "") -> None:
    """Raise ``ConfigError`` for the first thing in a node that must not be built."""
    if not _is_node(node):
        where = where or " or ".join(role.__name__ for role in roles)
        raise ConfigError(f"{where} is an object: say of which class, {where.rpartition(' ')[2]}._target_=CLASS")
    cls, derived = target_class(node[TARGET], *roles), derived or {}
    known = {name: p for name, p in inspect.signature(cls).parameters.items() if p.kind is not p.VAR_POSITIONAL}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
    takes = kinds.annotations(cls)
    for key, value in node.items():
        if key == TARGET:
            continue
        if key in derived:
            raise ConfigError(f"{cls.__name__}: {key} follows from other settings, and is not set by itself")
        if key not in takes and (not open_ended or str(key).startswith("_")):
            raise ConfigError(f"{cls.__name__} has no setting {key!r}: {suggest(str(key), list(takes))} "
                              "(what another choice brought along is left out by ~ and its whole key)")
        check_value(value, takes.get(key, Any), where=f"{cls.__name__}: {key}")
    for key in takes:
        if known[key].default is inspect.Parameter.empty and key not in node and key not in derived:
            raise ConfigError(f"{cls.__name__}: {key} is not set")


def check_value(value: Any, annotation: Any, *, where: str) -> None:
    """Raise ``ConfigError`` where a value, or a part within it, is not what the annotation at ``where`` takes."""
    parts, roles = list(_outer_parts(value)), kinds.roles(annotation)
    left_out = isinstance(value, dict) and bool(value) and all(part is None for part in value.values())
    if isinstance(value, dict) and roles and not parts and not left_out:
        check(value, roles, where=where)
    for part in parts:
        if not roles:
            raise ConfigError(f"{where} takes no object, got {part[TARGET]!r}")
        check(part, roles, where=where)
    if not parts:
        try:
            kinds.check(value, annotation, key=where)
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


def _construct(value: Any, derived: Mapping[str, Any] | None = None) -> Any:
    if isinstance(value, list):
        return [_construct(item) for item in value]
    if not isinstance(value, dict):
        return value
    if not _is_node(value):
        return {key: _construct(item) for key, item in value.items()}
    settings = {key: _construct(item) for key, item in value.items() if key != TARGET}
    cls = _named(value[TARGET])
    try:
        part = cls(**settings, **derived or {})
    except ConfigError:
        raise
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        raise ConfigError(f"{cls.__name__}: {error}") from error
    for base, name in _hidden(part):
        raise ConfigError(f"{cls.__name__}.{name} is a value, and hides the method {name}() of {base}: rename it")
    return part


def _hidden(part: Any) -> Iterator[tuple[str, str]]:
    """Public methods, with the class that has them, in whose place an object or its class has what cannot be called."""
    for base in type(part).__mro__:
        for name, method in vars(base).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                found = inspect.getattr_static(part, name)
                if not callable(found) and not isinstance(found, staticmethod | classmethod):
                    yield base.__name__, name


def parameters(name: str, *roles: type) -> dict[str, inspect.Parameter]:
    """The named constructor parameters of the class that a ``_target_`` names, whatever its role if none is given."""
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = inspect.signature(target_class(name, *roles)).parameters
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
        if _within(found.__module__ + ".", ("mmdiff",)):
            raise ConfigError(f"_target_ {name!r} is a base class: name one of its kinds")
        missing = (k for k in dir(found) if getattr(getattr(found, k), "__isabstractmethod__", False))
        role = " or ".join(r.__name__ for r in roles)
        raise ConfigError(f"_target_ {name!r} lacks what every {role} has: {', '.join(missing)}")
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
