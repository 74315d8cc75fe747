"""Groups of a configuration and their options: ``adapter=video``, ``experiment=audio/demo``, ``adapter/text=bytes``."""

import re

from ..data.labels import suggest
from . import plugins
from .build import ConfigError
from .words import Word, pieces, text

MANY = {"adapter/controls", "reconstruction/latent", "reconstruction/losses"}
"""Groups of which several options stand beside each other: ``adapter/controls=[edges,grey]``."""


def options_of(group: str) -> list[str]:
    """Options of a group, those in its sub-folders (``experiment=audio/demo``) included."""
    folders = [] if "." in group else [root.joinpath(group) for root in plugins.roots().values()]
    found = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    own = {path.name.removesuffix(".yaml") for path in found if path.name.endswith(".yaml")}
    below = {path.name for path in found if path.is_dir()}
    return [*sorted(own), *(f"{sub}/{name}" for sub in sorted(below) for name in options_of(f"{group}/{sub}"))]


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
