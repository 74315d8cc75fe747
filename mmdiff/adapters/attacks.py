"""What may happen to a sample between its making and its finding."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

Attack = Callable[[Tensor, Path], Tensor]
"""A sample ``(C, *S)``, and a folder for files -> the sample as it is read afterwards."""


def changed(change: Callable[[Tensor], Tensor]) -> Attack:
    """An attack that needs no file."""
    return lambda sample, folder: change(sample).contiguous()
