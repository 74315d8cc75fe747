"""Work of one process for which the others wait, however long it takes.

Their wait is a meeting of its own, with a time-out of a week: the collectives of training keep their short ones (10 to
30 minutes), by which a process that hangs is noticed. A process that dies still ends the wait at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import lightning as L
from torch import distributed

WEEK = timedelta(days=7)


@contextmanager
def alone(trainer: L.Trainer) -> Iterator[bool]:
    """Gives True in the process that works; the block of the others ends when its block has. All must enter."""
    if trainer.world_size == 1:
        yield True
        return
    group: Any = distributed.new_group(backend="gloo", timeout=WEEK)  # before the work, as to make one is to meet
    try:
        yield trainer.is_global_zero
    finally:
        distributed.barrier(group)
        distributed.destroy_process_group(group)
