"""What is asked for: one item of a generation job."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt

from ..config.kinds import check
from ..data.labels import Label
from .edits import Edit


@dataclass(frozen=True)
class Request:
    """One item: its labels, its seed, its size where it differs from the model's own, and what it starts from.

    NumPy's numbers are taken as Python's. Raises ``ValueError`` naming what is of another kind.
    """

    seed: int = 0
    labels: dict[str, Label] = field(default_factory=dict)
    size: dict[str, float] = field(default_factory=dict)
    name: str | None = None
    edit: Edit | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():                        # NumPy's numbers are none to JSON
            plain = {k: plain_number(v) for k, v in value.items()} if isinstance(value, dict) else plain_number(value)
            object.__setattr__(self, name, plain)
        check(self.seed, int, key="seed")
        check(self.name, str | None, key="name")
        check(self.labels, dict[str, Label], key="labels")
        check(self.size, dict[str, Annotated[float, Gt(0)]], key="size")
        if not isinstance(self.edit, Edit | None):
            raise ValueError(f"edit is an mmdiff.Edit, or None, got {self.edit!r}")

    @property
    def title(self) -> str:
        """The labels in a few words."""
        return " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in self.labels.values() if v is not None)


def plain_number(value: Any) -> Any:
    """NumPy's numbers as Python's; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value
