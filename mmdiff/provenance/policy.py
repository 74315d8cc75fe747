"""Rules of who runs a service, from a YAML file: what is refused, and what must be on.

    refuse:
      fields: [speaker]                      # fields that nobody may tell
      labels: {caption: ["*weapon*"], "*": [brand]}      # patterns (* ? [...]) of labels by field, * for every field
    largest_n: 16                            # samples of one job
    require: [provenance, audit, mark, record]

Labels that guidance leads away from are refused as well: a scale below 1 leads to them. Small and capital letters, and
forms of a letter that Unicode calls compatible, are the same. What is refused is told in a line, and gets a row in the
log.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, Protocol
from unicodedata import normalize

from omegaconf import OmegaConf

from ..adapters.base import Count
from ..config.build import ConfigError
from ..config.files import load_yaml
from ..config.kinds import KindError, check
from ..data.labels import Label, suggest
from .audit import Refused
from .record import digest

Layer = Literal["provenance", "audit", "mark", "record"]
KEYS: dict[str, Any] = {
    "refuse": dict[str, Any] | None, "largest_n": Count | None, "require": list[Layer] | None,
}
REFUSE: dict[str, Any] = {"fields": list[str], "labels": dict[str, list[str]]}


class Labelled(Protocol):
    """What a rule sees of a request."""

    @property
    def labels(self) -> Mapping[str, Label]: ...

    @property
    def negative(self) -> Mapping[str, Label]: ...


class Policy:
    """The rules of the file at ``path``. Raises ``ConfigError`` for what is no rule."""

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        found: Any = OmegaConf.to_container(load_yaml(self.path))
        self._checked(found, KEYS)
        self.largest: int | None = found.get("largest_n")
        self.required: list[str] = found.get("require") or []
        refused = found.get("refuse") or {}
        self._checked(refused, REFUSE)
        self.fields: list[str] = refused.get("fields", [])
        self.labels: dict[str, list[str]] = refused.get("labels", {})

    @property
    def sha256(self) -> str:
        """The hash of the file, by which a log names it."""
        return digest(self.path)

    def check(self, requests: Sequence[Labelled], on: Collection[str]) -> None:
        """Raise ``Refused`` for requests that are against a rule; ``on`` are the layers that are in force."""
        for reason in self._reasons(requests, on):
            raise Refused(f"refused by {self.path.name}: {reason}")

    def _reasons(self, requests: Sequence[Labelled], on: Collection[str]) -> Iterator[str]:
        if self.largest is not None and len(requests) > self.largest:
            yield f"{len(requests)} samples are asked for, and {self.largest} at most are made"
        for layer in self.required:
            if layer not in on:
                yield f"{layer}= must be on"
        for i, request in enumerate(requests):
            for name, label in (*request.labels.items(), *request.negative.items()):
                if label is None:
                    continue
                if name in self.fields:
                    yield f"request {i + 1} tells {name}, which nobody may"
                for pattern in (*self.labels.get(name, []), *self.labels.get("*", [])):
                    if any(fnmatchcase(form, _folded(pattern)) for form in _forms(label)):
                        yield f"request {i + 1} asks for {name} {label!r}, which {pattern!r} refuses"

    def foreign(self, fields: Collection[str]) -> list[str]:
        """The fields that are named and that a model of these ``fields`` has not: its rules do nothing there."""
        return [name for name in dict.fromkeys((*self.fields, *self.labels)) if name != "*" and name not in fields]

    def _checked(self, found: Any, known: Mapping[str, Any]) -> None:
        try:
            check(found, dict[str, Any], key=str(self.path))
            for name, value in found.items():
                if name not in known:
                    raise ConfigError(f"{self.path}: no rule {name!r}; {suggest(str(name), list(known))}")
                check(value, known[name], key=f"{self.path}: {name}")
        except KindError as error:
            raise ConfigError(str(error)) from None


def _forms(label: Label) -> Iterator[str]:
    """A label as rules compare it: a number as 60 and as 60.0."""
    yield _folded(str(label))
    if isinstance(label, int | float):
        yield f"{label:.12g}"
        yield str(float(label))


def _folded(text: str) -> str:
    return normalize("NFKC", text).casefold()
