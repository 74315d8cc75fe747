"""Overrides as people write them, made into a configuration by Hydra.

Defaults live in signatures, so YAML does not list every parameter; yet each can be overridden without a ``+``. Groups
are chosen first, then single values (``mmdiff.config.lines``) are set in what was composed of them.
"""

import copy
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .build import ConfigError
from .groups import option, options_of
from .inherit import brought, choices, offered
from .keys import TABLES, annotation, checked
from .learned import with_codec
from .lines import OPTIONAL, class_line, line, several
from .record import stored_config
from .words import FORM, Word, text, written

CONFIGS = "mmdiff.configs"
MAKING = ("sampler", "guidance", "engine", "precision")
LATER = {
    "sample": (*MAKING, "mark", "provenance"), "eval": (*MAKING, "mark", "data"),
    "mark_find": ("mark",), "mark_test": ("data",), "embedder": ("data",),
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
                values = {word: "++" + said.lstrip("+") for word, said in values.items()}
            for said in values.values():
                override = OverridesParser.create().parse_override(said)
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
    classes = {word: class_line(config, word) for word in words if word.key.endswith("._target_") and word.sign != "~"}
    return classes | {word: line(name, config, word) for word in words if word not in classes}


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


def _words(arguments: Sequence[str]) -> list[Word]:
    """The words; with the data that is meant where only a folder is named, as in ``adapter=video data.root=clips``."""
    words = [Word.of(argument) for argument in arguments]
    return [Word("", "data", "folder"), *words] if _folder_alone(words) else words


def _folder_alone(words: Iterable[Word]) -> bool:
    named = {word.key for word in words}
    return "data.root" in named and not {"data", "experiment"} & named
