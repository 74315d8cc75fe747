"""What signs a file: the last act of writing it."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ..config.build import ConfigError

BESIDE = ".c2pa"
"""Of a file NAME.EXT whose format holds no signature, it is in NAME.EXT.c2pa."""


class Signing(ABC):
    """One way to sign, with everything it needs for a job."""

    @property
    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the JSON beside a file says of it: no secret. ``facts`` is ``hash`` where labels go into files as their
        hash alone."""

    @abstractmethod
    def check(self, ending: str) -> None:
        """Raise ``ConfigError`` where files of this ending cannot be signed; before anything is generated."""

    @abstractmethod
    def within(self, path: Path) -> bool:
        """Whether files of this ending hold their signature."""

    @abstractmethod
    def sign(
        self, path: Path, name: str, record: Mapping[str, Any], parents: Mapping[str, Path], *, generated: bool = True
    ) -> bytes | None:
        """Sign the file at ``path``, which is to be called ``name``; what it was made from are its ``parents``, the
        ``input`` of an edit and the files of controls by their names. What no model ``generated`` is a log.

        Gives the signature where the format has no place for one.
        """


def library(name: str) -> ModuleType:
    """A library of the extra ``provenance``. Raises ``ConfigError`` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"signatures need the extra: pip install 'mmdiff[provenance]' ({error})") from None
