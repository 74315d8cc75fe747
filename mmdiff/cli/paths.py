"""Commands of paths and a few keys, such as ``mmdiff reproduce FILE out=NEW``."""

from collections.abc import Sequence
from pathlib import Path

from ..config.build import ConfigError
from ..config.words import Word, text
from ..data.labels import suggest


def taken(
    command: str, arguments: Sequence[str], known: Sequence[str], *, needed: Sequence[str] = (), open_ended: str = ""
) -> tuple[list[str], dict[str, str]]:
    """The paths and the keys of a command; keys that begin with ``open_ended`` are taken too.

    Raises ``ConfigError`` for another key, or one that is ``needed`` and missing.
    """
    paths: list[str] = []
    options: dict[str, str] = {}
    for argument in arguments:
        key = argument.partition("=")[0]
        if key in known or (open_ended and "=" in argument and key.startswith(open_ended)):
            options[key] = text(Word.of(argument).value)
        elif "=" in argument and key.replace(".", "_").isidentifier() and not Path(argument).exists():
            raise ConfigError(f"no key {key!r} for mmdiff {command}; {suggest(key, list(known))}")
        else:
            paths.append(argument)
    if missing := [key for key in needed if key not in options]:
        raise ConfigError(f"mmdiff {command} needs {missing[0]}=")
    return paths, options
