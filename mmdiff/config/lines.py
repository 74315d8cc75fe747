"""One word of the command line as one override of Hydra: its sign, and its value in the quotes that it needs.

Whether a value is a text is said by the key's annotation (``mmdiff.config.keys``). A key that neither the YAML nor a
signature knows is an error that says what was probably meant.
"""

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from ..data.labels import suggest
from . import kinds
from .build import ConfigError, parameters
from .keys import annotation, values_of_names
from .words import Word, pieces, quoted, text

DERIVED = {
    "channels", "concat_channels", "cond_dim", "downsampling", "fields", "model", "reader", "sample_rate", "self",
    "spectrum", "text", "tokens",
}
OPTIONAL = {
    "adapter.given", "adapter.coupling", "adapter/text", "adapter.text", "adapter/controls", "adapter.controls",
    "experiment", "debug", "prior", "few", "diffusion", "reconstruction", "adversary", "sampler", "guidance",
    "reconstruction/latent", "reconstruction/losses",
}
"""Parts and groups of a training configuration that may be null."""


def value(word: Word, taken: Any) -> Any:
    """What a word says where its key takes ``taken``. Raises ``ConfigError`` where it is not of that kind."""
    if kinds.takes_text(taken):
        return None if _text(word, taken) == "null" else text(word.value)
    found = _parsed(word, taken).value()
    try:
        kinds.check(found, taken, key=word.key)
    except kinds.KindError as error:
        raise ConfigError(str(error)) from None
    return found


def several(word: Word, taken: Any = Any) -> list[str]:
    """The values that a word has under ``-m``, as they are written."""
    if kinds.takes_text(taken):
        return pieces(word.value)
    override = _parsed(word, taken)
    return list(map(str, override.sweep_string_iterator())) if override.is_sweep_override() else [word.value]


def line(name: str, config: DictConfig, word: Word) -> str:
    """The override that a word is to Hydra, in the configuration ``config`` of the command ``name``."""
    key = f"{_sign(name, config, word)}{word.key}"
    taken = annotation(name, config, word.key)
    if kinds.takes_text(taken):
        return f"{key}={_text(word, taken)}"
    if _takes_texts(taken) and (inner := re.fullmatch(r"\[([^\[\]]*)\]", word.value)):
        return f"{key}=[{','.join(quoted(text(item.strip())) for item in pieces(inner[1]) if item.strip())}]"
    override = _parsed(word, taken)
    if override.is_sweep_override():
        raise ConfigError(f"{word.key}={word.value} are several values: -m makes a run of each")
    replaces = isinstance(OmegaConf.select(config, word.key), DictConfig) and not isinstance(override.value(), dict)
    if replaces and not (override.value() is None and (word.key in OPTIONAL or type(None) in get_args(taken))):
        keys = [k for k in keys_below(config) if k.startswith(f"{word.key}.")]
        raise ConfigError(f"{word.key} is no value but a group of keys, such as {(keys or [word.key])[0]}; "
                          f"got {word.value!r}")
    return f"{key}={word.value}"


def _text(word: Word, taken: Any) -> str:
    if word.value == "null" and type(None) in get_args(taken):
        return "null"
    if not (meant := text(word.value)):
        raise ConfigError(f"{word.key}= is empty: it is {kinds.words(taken)}. Is a variable of the shell not set?")
    if meant.startswith("~") and "path" in kinds.words(taken):        # a name: nobody is to look for a home again
        return quoted(os.path.abspath(meant))
    return quoted(meant)


def _parsed(word: Word, taken: Any) -> Override:
    try:
        if word.value:
            return OverridesParser.create().parse_override(f"{word.key}={word.value}")
    except HydraException:
        pass
    wanted = "a value whose brackets, quotes and braces are closed" if taken is Any else kinds.words(taken)
    raise ConfigError(f"{word.key} is {wanted}, got {word.value!r}")


def _takes_texts(taken: Any) -> bool:
    """Whether it is a list of texts, or null."""
    members = [a for a in get_args(taken) if a is not type(None)] if type(None) in get_args(taken) else [taken]
    return all(get_origin(a) in (list, tuple, Sequence) and get_args(a)[:1] == (str,) for a in members)


def _sign(name: str, config: DictConfig, word: Word) -> str:
    """Hydra's sign: ``++`` for a parameter that the YAML does not state, also where it is given twice."""
    if word.sign in ("+", "++") and word.key.partition(".")[0] in config:
        return word.sign
    if _knows(config, word.key):
        return word.sign
    if _takes(config, word.key) or values_of_names(name, config, word.key.rpartition(".")[0]) is not None:
        return word.sign or "++"
    raise ConfigError(f"no key {word.key!r}; {_nearest(config, word.key)}")


def class_line(config: DictConfig, word: Word) -> str:
    """The line that names a class. ``config`` takes it over, so that the class's parameters are known from here on."""
    part = word.key.rpartition(".")[0]
    if not (isinstance(OmegaConf.select(config, part), DictConfig) or _takes(config, part)):
        raise ConfigError(f"no key {word.key!r}; {_nearest(config, word.key)}")
    OmegaConf.update(config, word.key, text(word.value), force_add=True)
    return f"++{word.key}={quoted(text(word.value))}"


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
    leaf = key.rpartition(".")[2]
    keys = list(dict.fromkeys([*keys_below(config), *(g for g in groups if g in config)]))
    keys += ["data.root"] if "data" in config and key != "data.root" else []     # it may stand for data=folder
    same_leaf = [k for k in keys if k.rpartition(".")[2] == leaf]
    return f"did you mean {' or '.join(map(repr, same_leaf[:3]))}?" if same_leaf else suggest(key, keys)


def keys_below(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Every key below a node that can be given a value, those that only a signature knows included."""
    names = [str(k) for k in node if not str(k).startswith("_")]
    names += [k for k in _parameters(node) if k not in names] if "_target_" in node else []
    for name in names:
        yield f"{prefix}{name}"
        if name in node and not OmegaConf.is_missing(node, name) and isinstance(node[name], DictConfig):
            yield from keys_below(node[name], f"{prefix}{name}.")
