"""Words of the command line: ``key=value``, and how a text among values is kept from every grammar.

    value           the text itself: spaces, commas, brackets, quotes, = and # and : and ${ mean nothing
    'value'         the same, where it could be taken for something else: null, ~, or with -m a list (a,b)
    ~/x             in the home folder

Hydra reads what is left (numbers, lists, true and false, mappings) and gets texts quoted.
"""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from ..data.labels import suggest
from .build import ConfigError
from .files import literal

FORM = re.compile(r"(\+{0,2}|~)([A-Za-z_][\w.@/-]*)=(.*)", re.DOTALL)
QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
PIECE = re.compile(r"""((?:'[^']*'|"[^"]*")(?=,|$)|[^,]*)(,|$)""", re.DOTALL)


class Word(NamedTuple):
    """One ``key=value``; ``sign`` is Hydra's: none, ``+``, ``++`` or ``~``."""

    sign: str
    key: str
    value: str

    @staticmethod
    def of(argument: str) -> "Word":
        """A word taken apart. Raises ``ConfigError`` where it is none."""
        if not (found := FORM.fullmatch(argument)):
            key = argument.partition("=")[0]
            wanted = f"{key!r} is no key" if "=" in argument else "say what it is for, such as run=DIR"
            raise ConfigError(f"{argument!r} cannot be read as key=value: {wanted}")
        return Word(*found.groups())


def parted(arguments: Sequence[str], *known: str) -> tuple[list[str], set[str]]:
    """Words and flags (``-m``, ``--cfg``, after which ``job`` may stand)."""
    words, flags, before = [], set(), ""
    for argument in arguments:
        flag = "-m" if argument == "--multirun" else argument
        if flag in known:
            flags.add(flag)
        elif argument.startswith("-"):
            raise ConfigError(f"there is no option {argument}; {suggest(argument, list(known))}")
        elif (before, argument) != ("--cfg", "job"):
            words.append(argument)
        before = argument
    return words, flags


def text(value: str) -> str:
    """The text that is meant, without its quotes, or with the home folder that ``~`` stands for."""
    if QUOTED.fullmatch(value):
        return value[1:-1]
    if value.startswith("~") and (found := os.path.expanduser(value)) == value:
        raise ConfigError(f"{value!r} is in nobody's home folder; a name that begins with ~ itself is quoted twice")
    return found if value.startswith("~") else value


def written(key: str, meant: str) -> str:
    """The word that says a text, for other processes and for people to type (after ``shlex.quote``)."""
    special = meant == "null" or meant.startswith("~") or QUOTED.fullmatch(meant)
    quote = '"' if "'" in meant else "'"
    return f"{key}={quote}{meant}{quote}" if special else f"{key}={meant}"


def pieces(value: str) -> list[str]:
    """What a sweep takes one after the other: ``a,'b,c'`` is a and 'b,c'."""
    found = [(match[1], match[2]) for match in PIECE.finditer(value)]
    end = next(i for i, (_, comma) in enumerate(found) if not comma)
    return [piece for piece, _ in found[: end + 1]]


def quoted(meant: str) -> str:
    """A text in Hydra's quotes, which gives this very text."""
    body = re.sub(r"(\\*)'", r"\1\1\\'", literal(meant))
    return "'" + re.sub(r"(\\+)\Z", r"\1\1", body) + "'"
