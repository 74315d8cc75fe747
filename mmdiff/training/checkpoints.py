"""Checkpoints that a run resumes from: written whole or not at all, the last two kept.

A file, or a folder where training is sharded.
"""

import os
import shutil
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from .sharded import read_facts

PATTERN = "step-*.ckpt"
LAZILY = {"map_location": "meta", "weights_only": True, "mmap": True}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write to a temporary name, flush to the disk, rename: a file under its final name is complete."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.partial")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):                                   # what was written so far may fill the disk
                temporary.unlink()
            raise


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of an optimizer step is."""
    return folder / f"step-{step:09d}.ckpt"


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest ``keep`` checkpoints; one that cannot be deleted is told."""
    for path in sorted(folder.glob(PATTERN))[:-keep]:
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(f"an old checkpoint cannot be deleted: {error}", stacklevel=2)


def latest(folder: Path) -> tuple[Path, int] | None:
    """The newest checkpoint that can be read and its optimizer step, or None."""
    for path in sorted(folder.glob(PATTERN), reverse=True):
        try:
            facts = read_facts(path) if path.is_dir() else torch.load(path, **LAZILY)
            return path, int(facts["global_step"])
        except Exception as error:
            print(f"skipping the unreadable checkpoint {path.name}: {error}")
    return None
