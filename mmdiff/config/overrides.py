"""Overrides as people write them, made into overrides as Hydra takes them.

Defaults live in signatures, so YAML does not list every parameter; yet each can be overridden without a ``+``. A key
that neither the YAML nor a signature knows is an error that says what was probably meant. Whether a value is a text is
said by the key's annotation (``mmdiff.config.keys``); a text reaches Hydra in quotes.
"""

import copy
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..data.labels import suggest
from . import kinds
from .build import ConfigError, parameters
from .groups import option, options_of
from .inherit import brought, choices, offered
from .keys import TABLES, annotation, checked
from .learned import with_codec
from .record import stored_config
from .words import FORM, Word, pieces, quoted, text, written

CONFIGS = "mmdiff.configs"
DERIVED = {
    "channels", "concat_channels", "cond_dim", "downsampling", "fields", "model", "reader", "sample_rate", "self",
    "text", "tokens",
}
OPTIONAL = {
    "adapter.given", "adapter.coupling", "adapter/text", "adapter.text", "adapter/controls", "adapter.controls",
    "experiment", "debug", "prior", "few", "diffusion", "reconstruction", "adversary", "sampler", "guidance",
    "reconstruction/latent",
}
"""Parts and groups of a training configuration that may be null."""
MAKING = ("sampler", "guidance", "engine", "precision")
LATER = {
    "sample": (*MAKING, "mark", "provenance"), "eval": (*MAKING, "mark"),
    "mark_find": ("mark",),
}
"""Groups for which the model has a choice of its own, or that may be left out."""
DELETION = re.compile(r"~[A-Za-z_][\w.@/]*")


class Composition(NamedTuple):
    """A configuration, its values checked, and the overrides that made it, as Hydra reads them."""

    config: DictConfig
    overrides: list[str]


def composed(name: str, arguments: Sequence[str]) -> DictConfig:
    """The configuration ``name`` with overrides applied, its values checked."""
    return composition(name, arguments).config


def completed(name: str, arguments: Sequence[str]) -> list[str]:
    """``arguments`` as Hydra reads them: texts quoted, and ``++`` before each parameter that a signature knows and the
    YAML does not state."""
    return composition(name, arguments).overrides


def composition(name: str, arguments: Sequence[str]) -> Composition:
    """The configuration ``name`` with overrides applied: first the groups, then single values.

    Raises ``ConfigError`` for keys and group options that do not exist, and for values that cannot be read.
    """
    gone = [a for a in arguments if DELETION.fullmatch(a)]
    stored = _stored(arguments) if name == "train" else None
    if stored and gone:
        raise ConfigError(f"{gone[0]}: the run exists, and ~ takes nothing away from it; give the key a value instead")
    words = [Word.of(a) for a in arguments] if stored else _words([a for a in arguments if a not in gone])
    with _hydra(name, arguments):
        try:
            groups = {word: f"{word.sign}{option(word)}" for word in words if options_of(word.key)}
            for word in groups:
                if word.value == "null" and not (word.key in OPTIONAL or word.key in LATER.get(name, ())):
                    raise ConfigError(f"{word.key}=null: {word.key} is one of {', '.join(options_of(word.key))}")
            chosen = ["data=folder"] if stored and _folder_alone(words) else []  # as when the run began
            config = compose(name, overrides=[*_inherited(name, arguments), *chosen, *groups.values(), *gone])
            values = _values(name, stored or copy.deepcopy(config), [word for word in words if word not in groups])
            if stored:                                                # its keys need not be those of the default choice
                values = {word: "++" + line.lstrip("+") for word, line in values.items()}
            for line in values.values():
                override = OverridesParser.create().parse_override(line)
                OmegaConf.update(config, override.key_or_group, override.value(), merge=True, force_add=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(" ".join(str(error.__cause__ or error).split())) from error
    lines = {**groups, **values}
    named = [Word.of(a).key for a in arguments if "=" in a]
    if not stored or {"adapter", "experiment"} & set(named):           # a run that goes on has it already
        config = with_codec(config, named)
    return Composition(checked(name, config), [lines[word] for word in words] + gone)


def _values(name: str, config: DictConfig, words: Sequence[Word]) -> dict[Word, str]:
    """The line of each word that is no group; first what a part is, which decides what it takes."""
    classes = {word: _chosen(config, word) for word in words if word.key.endswith("._target_") and word.sign != "~"}
    return classes | {word: _line(name, config, word) for word in words if word not in classes}


@contextmanager
def _hydra(name: str, arguments: Sequence[str]) -> Iterator[None]:
    """Hydra, ready to compose, with the parts of the model that is started from among its options."""
    with offered(_base(name, arguments)), initialize_config_module(CONFIGS, version_base="1.3"):
        yield


def _inherited(name: str, arguments: Sequence[str]) -> list[str]:
    """The lines that choose the parts of the model that is started from, where there is one."""
    base = _base(name, arguments)
    words = [Word.of(a) for a in arguments if "=" in a]
    brings = [brought("adapter", text(word.value)) for word in words if word.key == "adapter"]
    return [] if base is None else choices(base, {word.key for word in words}.union(*brings))


def _base(name: str, arguments: Sequence[str]) -> Path | None:
    """The model that is started from. Of a run that exists it counts only for choices that are made again."""
    if "init" not in TABLES[name]:
        return None
    stored = _stored(arguments) if name == "train" else None
    base = _last(arguments, "init") or (stored and stored.get("init"))
    if base in (None, "null"):
        return None
    return None if stored and not Path(base).expanduser().exists() else Path(base)


def _last(arguments: Sequence[str], key: str) -> str | None:
    """The text that the last word of a key says."""
    found = [word for a in arguments if "=" in a and (word := Word.of(a)).key == key]
    return text(found[-1].value) if found else None


def _stored(arguments: Sequence[str]) -> DictConfig | None:
    """The configuration of the run that is named, where it exists: what is given is given to that one."""
    run = _last(arguments, "run")
    found = stored_config(Path(run)) if run is not None else None
    return found and found[0]


def combinations(name: str, arguments: Sequence[str]) -> list[dict[str, str]]:
    """What ``-m`` makes of words with several values: for each run, the value of each swept key as it is written."""
    words = _words([a for a in arguments if not DELETION.fullmatch(a)])
    first = [f"{word.key}={several(word, str)[0]}" for word in words]
    with _hydra(name, first):
        groups = [word for word in words if options_of(word.key)]
        lines = [option(word._replace(value=several(word, str)[0])) for word in groups]
        config = compose(name, overrides=[*_inherited(name, first), *lines])
        runs: list[dict[str, str]] = [{}]
        for word in words:
            taken = str if word in groups or word.key.endswith("._target_") else annotation(name, config, word.key)
            if len(values := several(word, taken)) > 1:
                runs = [{**run, word.key: value} for run in runs for value in values]
    return runs


def with_run(name: str, arguments: Sequence[str], more: Sequence[str] = ()) -> list[str]:
    """``arguments`` with the first as ``run=``, where it is a path; ``more`` are names of keys besides the table's."""
    first = arguments[0] if arguments else "="
    roots = {key.partition(".")[0] for key in TABLES[name]} | set(more)
    key = (found := FORM.fullmatch(first)) and re.split(r"[./@]", found[2])[0]
    path = "=" not in first or (key not in roots and ("/" in first or os.path.exists(first)))
    return [written("run", first), *arguments[1:]] if path else list(arguments)


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


def _words(arguments: Sequence[str]) -> list[Word]:
    """The words; with the data that is meant where only a folder is named, as in ``adapter=video data.root=clips``."""
    words = [Word.of(argument) for argument in arguments]
    return [Word("", "data", "folder"), *words] if _folder_alone(words) else words


def _folder_alone(words: Iterable[Word]) -> bool:
    named = {word.key for word in words}
    return "data.root" in named and not {"data", "experiment"} & named


def several(word: Word, taken: Any = Any) -> list[str]:
    """The values that a word has under ``-m``, as they are written."""
    if kinds.takes_text(taken):
        return pieces(word.value)
    override = _parsed(word, taken)
    return list(map(str, override.sweep_string_iterator())) if override.is_sweep_override() else [word.value]


def _line(name: str, config: DictConfig, word: Word) -> str:
    key = f"{_sign(config, word)}{word.key}"
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
        keys = [k for k in _keys(config) if k.startswith(f"{word.key}.")]
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


def _sign(config: DictConfig, word: Word) -> str:
    """Hydra's sign: ``++`` for a parameter that the YAML does not state, also where it is given twice."""
    if word.sign in ("+", "++") and word.key.partition(".")[0] in config:
        return word.sign
    if _knows(config, word.key):
        return word.sign
    if _takes(config, word.key):
        return word.sign or "++"
    raise ConfigError(f"no key {word.key!r}; {_nearest(config, word.key)}")


def _chosen(config: DictConfig, word: Word) -> str:
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
    keys = list(dict.fromkeys([*_keys(config), *(g for g in groups if g in config)]))
    keys += ["data.root"] if "data" in config and key != "data.root" else []     # it may stand for data=folder
    same_leaf = [k for k in keys if k.rpartition(".")[2] == leaf]
    return f"did you mean {' or '.join(map(repr, same_leaf[:3]))}?" if same_leaf else suggest(key, keys)


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    names = [str(k) for k in node if not str(k).startswith("_")]
    names += [k for k in _parameters(node) if k not in names] if "_target_" in node else []
    for name in names:
        yield f"{prefix}{name}"
        if name in node and not OmegaConf.is_missing(node, name) and isinstance(node[name], DictConfig):
            yield from _keys(node[name], f"{prefix}{name}.")
