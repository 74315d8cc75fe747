"""What is asked for: one item of a generation job."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from unicodedata import category, normalize

import numpy as np
from annotated_types import Ge, Gt, Le

from ..config.kinds import check
from ..data.labels import Label, title
from .edits import Edit
from .references import Reference, referred

Seed = Annotated[int, Ge(-(2**63)), Le(2**63 - 1)]
"""Of 64 bits, as formats of records hold it."""
LONGEST = 200
"""Bytes of a sample's name: systems take 255, of which hidden names, process numbers and endings need some."""


@dataclass(frozen=True)
class Request:
    """One item: its labels, its seed, its size where it differs from the model's own, and what it starts from.

    ``negative`` are labels to keep away from: guidance contrasts with them in place of nothing told. ``controls`` are
    files of which the maps are made that it follows, ``{"sketch": "film.mp4"}``.
    NumPy's numbers are taken as Python's. Raises ``ValueError`` naming what is of another kind.
    """

    seed: int = 0
    labels: dict[str, Label] = field(default_factory=dict)
    size: dict[str, float] = field(default_factory=dict)
    name: str | None = None
    edit: Edit | None = None
    negative: dict[str, Label] = field(default_factory=dict)
    controls: Mapping[str, str | Path | Reference] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():                        # NumPy's numbers are none to JSON
            plain = {k: plain_number(v) for k, v in value.items()} if isinstance(value, dict) else plain_number(value)
            object.__setattr__(self, name, plain)
        check(self.seed, Seed, key="seed")
        check(self.name, str | None, key="name")
        for name in ("labels", "negative"):
            check(getattr(self, name), dict[str, Label], key=name)
        check(self.size, dict[str, Annotated[float, Gt(0)]], key="size")
        object.__setattr__(self, "controls", referred(self.controls))
        if self.controls and self.edit is not None:
            raise ValueError(f"mode={self.edit.mode} starts from a file, control.{next(iter(self.controls))} follows "
                             "one: a sample does either")
        if not isinstance(self.edit, Edit | None):
            raise ValueError(f"edit is an mmdiff.Edit, or None, got {self.edit!r}")

    @property
    def references(self) -> dict[str, Reference]:
        """The files of ``controls``."""
        return referred(self.controls)

    @property
    def parents(self) -> dict[str, Path]:
        """The files that it starts from or follows: ``input``, or controls by name."""
        edited = {} if self.edit is None else {"input": self.edit.input}
        return edited | {name: file.input for name, file in self.references.items()}

    @property
    def told(self) -> set[str]:
        """The fields and maps of which it says anything."""
        labels = [name for said in (self.labels, self.negative) for name, value in said.items() if value is not None]
        return {*labels, *self.controls}

    @property
    def title(self) -> str:
        """The labels in a few words."""
        return title(self.labels)

    def file_name(self, index: int) -> str:
        """The name of its file, without the ending, as the ``index``-th of a job. ``ValueError`` where its own name is
        too long; one that is made of labels is cut, and ends in a hash of them."""
        labels = "_".join(f"{k}-{v}" for k, v in self.labels.items() if v is not None)
        name = _plain(self.name or "_".join(filter(None, [f"{index:04d}", labels, f"seed{self.seed}"])))
        if (length := len(name.encode())) <= LONGEST:
            return name
        if self.name:
            raise ValueError(f"request {index + 1}: its name has {length} bytes, a file's at most {LONGEST}: {name!r}")
        kept = _plain(labels).encode()[: LONGEST // 2].decode(errors="ignore")
        return f"{index:04d}_{kept}-{hashlib.sha256(labels.encode()).hexdigest()[:8]}_seed{self.seed}"


def _plain(name: str) -> str:
    """Letters of any script with their marks, digits and ``-_.+``, not hidden; other signs become ``-``."""
    kept = "".join(c if category(c)[0] in "LNM" or c in "-_.+" else "-" for c in normalize("NFC", name))
    return kept if not kept.startswith(".") else f"-{kept[1:]}"


def plain_number(value: Any) -> Any:
    """NumPy's numbers as Python's; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value
