"""Groups of a configuration and their options: ``adapter=video``, ``experiment=audio/demo``, ``adapter/text=bytes``."""

import re
from functools import lru_cache

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra

from ..data.labels import suggest
from . import plugins
from .build import ConfigError
from .words import Word, pieces, text

MANY = {"adapter/controls", "reconstruction/latent"}
"""Groups of which several options stand beside each other: ``adapter/controls=[edges,grey]``."""


def options_of(group: str) -> list[str]:
    """Options of a group, those in its sub-folders (``experiment=audio/demo``) included."""
    return [] if "." in group else _listed(GlobalHydra.instance().config_loader(), group)


@lru_cache(maxsize=64)                                                # the loader copies itself for every question
def _listed(loader: ConfigLoader, group: str) -> list[str]:
    inner = [f"{sub}/{name}" for sub in loader.list_groups(group) for name in _listed(loader, f"{group}/{sub}")]
    return [*loader.get_group_options(group), *inner]


def option(word: Word) -> str:
    """``group=option``. Raises ``ConfigError`` where the group has no such option, or two packages have one."""
    value = text(word.value)
    if value == "null":
        return f"~{word.key}"                                         # a group may not be null to Hydra, but left out
    listed = re.fullmatch(r"\[(.*)\]", value) if word.key in MANY else None
    for name in [text(piece.strip()) for piece in pieces(listed[1])] if listed else [value]:
        if name not in options_of(word.key):
            raise ConfigError(f"{word.key} has no option {name!r}; {suggest(name, options_of(word.key))}")
        if len(packages := plugins.offered_by(word.key, name)) > 1:
            raise ConfigError(f"{word.key}={name} is in {' and in '.join(packages)}: one must go")
    return f"{word.key}={value}"
