"""Overrides as people write them, made into overrides as Hydra takes them.

Defaults live in signatures, so YAML does not list every parameter; yet each can be overridden without a ``+``. A key
that neither the YAML nor a signature knows is an error that says what was probably meant.
"""

import os
from collections.abc import Sequence

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from .. import plugins
from ..config import ConfigError, parameters
from ..data.labels import suggest

CONFIGS = "mmdiff.configs"
DERIVED = {"channels", "cond_dim", "fields", "reader", "sample_rate", "self"}


def composed(name: str, arguments: Sequence[str]) -> DictConfig:
    """The configuration ``name`` with overrides applied."""
    with initialize_config_module(CONFIGS, version_base="1.3"):
        return compose(name, overrides=completed(name, arguments))


def completed(name: str, arguments: Sequence[str]) -> list[str]:
    """``arguments`` with ``++`` put before each parameter that a signature knows and the YAML does not state.

    Raises ``ConfigError`` for keys and group options that do not exist.
    """
    arguments = [home(a) for a in [*_data(arguments), *arguments]]
    words = [a for a in arguments if "=" in a and not a.startswith("-")]
    overrides = OverridesParser.create().parse_overrides(words)
    arguments = [*words, *(a for a in arguments if a not in words)]    # Hydra wants options last
    if not GlobalHydra.instance().is_initialized():
        with initialize_config_module(CONFIGS, version_base="1.3"):
            return completed(name, arguments)
    groups = [o for o in overrides if _options(o.key_or_group)]
    for override in groups:
        _check_option(override)
    config = compose(name, overrides=[_first(o) for o in groups])
    classes = {o.input_line: _chosen(config, o) for o in overrides if o.key_or_group.endswith("._target_")}
    plus = {o.input_line: classes.get(o.input_line) or _plus(config, o) for o in overrides if o not in groups}
    return [plus.get(a, a) for a in arguments]


def home(argument: str) -> str:
    """``data.root=~/clips`` with the folder meant: shells leave it as it is, and Hydra's grammar has no ``~``."""
    key, equals, value = argument.partition("=")
    return f"{key}={os.path.expanduser(value)}" if equals and value.startswith("~") else argument


def _data(arguments: Sequence[str]) -> list[str]:
    """The data that is meant where only a folder is named: ``adapter=video data.root=clips``."""
    given = {a.partition("=")[0] for a in arguments}
    return ["data=folder"] if "data.root" in given and not {"data", "experiment"} & given else []


def swept_keys(arguments: Sequence[str]) -> list[str]:
    """The keys that are given several values (``seed=1,2``)."""
    words = [home(a) for a in arguments if "=" in a and not a.startswith("-")]
    overrides = OverridesParser.create().parse_overrides(words)
    return [o.key_or_group for o in overrides if o.is_sweep_override()]


def _plus(config: DictConfig, override: Override) -> str:
    line, key = override.input_line, override.key_or_group
    if override.is_add() or override.is_delete() or override.is_force_add() or key.startswith("hydra"):
        return line
    if _knows(config, key):
        return line
    if _takes(config, key):
        return "++" + line                                             # also where it is given twice
    raise ConfigError(f"no key {key!r}; {_nearest(config, key)}")


def _chosen(config: DictConfig, override: Override) -> str | None:
    """The line that names a class. ``config`` takes it over, so that the class's parameters are known from here on."""
    key = override.key_or_group
    part = key.rpartition(".")[0]
    if override.is_delete() or not (isinstance(OmegaConf.select(config, part), DictConfig) or _takes(config, part)):
        return None
    OmegaConf.update(config, key, _values(override)[0], force_add=True)
    return "++" + override.input_line.lstrip("+")


def _takes(config: DictConfig, key: str) -> bool:
    """Whether ``key`` is a parameter that the class above it has, and the YAML does not state."""
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and "_target_" in node and leaf in _parameters(node)


def _knows(config: DictConfig, key: str) -> bool:
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and leaf in node.keys()  # noqa: SIM118 (values still missing count)


def _parameters(node: DictConfig) -> list[str]:
    return [name for name in parameters(node["_target_"]) if name not in DERIVED]


def _nearest(config: DictConfig, key: str) -> str:
    groups = GlobalHydra.instance().config_loader().list_groups("")
    keys, leaf = [*_keys(config), *(g for g in groups if g in config)], key.rpartition(".")[2]
    keys += ["data.root"] if "data" in config else []                 # it may stand for data=folder
    same_leaf = [k for k in keys if k.rpartition(".")[2] == leaf]
    return f"did you mean {' or '.join(map(repr, same_leaf[:3]))}?" if same_leaf else suggest(key, keys)


def _keys(node: DictConfig, prefix: str = ""):
    names = [k for k in node if not str(k).startswith("_")]
    names += [k for k in _parameters(node) if k not in names] if "_target_" in node else []
    for name in names:
        yield f"{prefix}{name}"
        if name in node and not OmegaConf.is_missing(node, name) and isinstance(node[name], DictConfig):
            yield from _keys(node[name], f"{prefix}{name}.")


def _options(group: str) -> list[str]:
    """Options of a group, those in its sub-folders (``experiment=audio/demo``) included."""
    loader = GlobalHydra.instance().config_loader()
    inner = [f"{sub}/{name}" for sub in loader.list_groups(group) for name in _options(f"{group}/{sub}")]
    return [*loader.get_group_options(group), *inner]


def _check_option(override: Override) -> None:
    values = [c for c in _values(override) if c is not None]
    for value in values:
        if value not in _options(override.key_or_group):
            known = _options(override.key_or_group)
            raise ConfigError(f"{override.key_or_group} has no option {value!r}; {suggest(value, known)}")
        if len(packages := plugins.offered_by(override.key_or_group, value)) > 1:
            raise ConfigError(f"{override.key_or_group}={value} is in {' and in '.join(packages)}: one must go")


def _values(override: Override) -> list[str | None]:
    if override.is_sweep_override():
        return [str(v) for v in override.sweep_string_iterator()]
    value = override.value()
    return [None if value is None else str(value)]


def _first(override: Override) -> str:
    value = _values(override)[0]
    return f"{override.key_or_group}={'null' if value is None else value}"
