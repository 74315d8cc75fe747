"""The runs that a command asks for: one, or with ``-m`` one for every combination of values.

A run of a sweep that fails is told and does not keep the others from being made; Ctrl-C does.
"""

import hashlib
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from omegaconf import DictConfig

from ..config.files import literal
from ..config.overrides import combinations, composition
from ..config.words import written
from .errors import report

LENGTH = 40
"""Characters of a swept value in a folder's name, at most."""


class Asked(NamedTuple):
    """One run: its configuration, the words that ask for it, and those as they apply to a run that exists."""

    config: DictConfig
    words: list[str]
    overrides: list[str]

    @classmethod
    def of(cls, words: list[str]) -> "Asked":
        """The run that words ask for."""
        found = composition("train", words)
        return cls(found.config, words, found.overrides)


class Sweep:
    """All runs of a command, composed before the first begins; ``code`` is the first exit code that is not 0."""

    def __init__(self, command: str, words: list[str], *, swept: bool):
        self.command, self.words, self.swept, self.code, self.base = command, words, swept, 0, ""
        self.runs = list(self._every()) if swept else [Asked.of(words)]

    def _every(self) -> Iterator[Asked]:
        for values in combinations("train", self.words):
            rest = [word for word in self.words if word.lstrip("+").partition("=")[0] not in values]
            words = [*rest, *(f"{key}={value}" for key, value in values.items())]
            run = Asked.of(words)
            self.base = run.config.run
            run.config.run = literal(f"{self.base}/{name}" if (name := folder(values)) else self.base)
            yield run

    @contextmanager
    def attempt(self, run: Asked) -> Iterator[None]:
        """The block that makes a run: other ranks are started with its words, and a sweep outlives its failure."""
        words = [word for word in run.words if not word.startswith("run=")]
        sys.argv[1:] = [self.command, *words, written("run", run.config.run)]
        if not self.swept:
            yield
            return
        try:
            with _left_clean():
                yield
        except KeyboardInterrupt:
            print(f"the sweep is stopped; go on with: {self._again()}", file=sys.stderr)
            raise
        except Exception as error:
            if (failed := report(self.command, error, where=run.config.run)) is None:
                raise
            self.code = self.code or failed

    def _again(self) -> str:
        words = [word for word in self.words if not word.startswith("run=")]
        return shlex.join(["mmdiff", self.command, "-m", written("run", self.base), *words])


def folder(values: Mapping[str, str]) -> str:
    """The folder of a run of a sweep, as every command and file system takes it: ``seed-1,optim.lr-0.01``."""
    return _safe(",".join(f"{key.replace('/', '.')}-{_safe(value, LENGTH)}" for key, value in values.items()), 200)


def _safe(value: str, length: int) -> str:
    """A text of plain characters; one that had others, or is too long, ends in a hash that keeps it apart."""
    plain = re.sub(r"[^\w.,+-]+", "-", value, flags=re.ASCII).strip("-")[:length]
    return plain if plain == value else f"{plain}-{hashlib.sha256(value.encode()).hexdigest()[:8]}".lstrip("-")


@contextmanager
def _left_clean() -> Iterator[None]:
    """Ends what Lightning leaves in a process of the ranks that it started, so that the next run starts its own."""
    before = dict(os.environ)
    try:
        yield
    finally:
        import torch.distributed

        if "LOCAL_RANK" not in before and torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        os.environ.clear()
        os.environ.update(before)
