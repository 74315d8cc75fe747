"""Checkpoints that a run resumes from: written whole or not at all, the last two kept.

A file, or a folder where training is sharded.
"""

import json
import os
import re
import shlex
import shutil
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import OmegaConf
from safetensors import SafetensorError, safe_open
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from ..config.build import ConfigError
from ..config.files import MODEL_FILE
from ..config.record import Record
from .sharded import contents, read_facts

PATTERN = "step-*.ckpt"
SAVING = ".saving"
"""A mark in the folder until the first checkpoint of a run is whole: its model file may then be alone."""
LAZILY: dict[str, Any] = {"map_location": "meta", "weights_only": True, "mmap": True}

say = rank_zero_only(print)


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


def prune(folder: Path, keep: int, *, step: int) -> None:
    """Delete all but the newest ``keep`` checkpoints up to ``step``; what is of later steps could not be read.

    One that cannot be deleted is told.
    """
    earlier = [path for path in sorted(folder.glob(PATTERN)) if path <= checkpoint_path(folder, step)]
    for path in earlier[:-keep]:
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(f"an old checkpoint cannot be deleted: {error}", stacklevel=2)


def latest(folder: Path) -> tuple[Path, int] | None:
    """The newest checkpoint that can be read and its optimizer step; None where there is none.

    Raises ``ConfigError`` where there are some, none of which can be read.
    """
    faults: list[str] = []
    for path in sorted(folder.glob(PATTERN), reverse=True):
        try:
            facts = read_facts(path) if path.is_dir() else torch.load(path, **LAZILY)
            if faults:
                say(f"skipping what cannot be read: {'; '.join(faults)}")
            return path, int(facts["global_step"])
        except Exception as error:
            faults.append(f"{path.name} ({' '.join(str(error).split())})")
    if faults:
        raise ConfigError(f"no checkpoint in {folder} can be read: {'; '.join(faults)}. Bring one back from a copy, or "
                          "begin another run with run=")
    return None


def shapes(path: Path) -> dict[str, torch.Size]:
    """The shape of every tensor of the module that a checkpoint holds, by name."""
    if path.is_dir():
        found = contents(path).state_dict_metadata
        return {name.removeprefix("state_dict."): kind.size for name, kind in found.items()
                if name.startswith("state_dict.") and isinstance(kind, TensorStorageMetadata)}
    return {name: value.shape for name, value in torch.load(path, **LAZILY)["state_dict"].items()}


def start(record: Record) -> tuple[Path, int] | None:
    """What a run that was begun goes on from: a checkpoint and its step, or None where it had not come to its first.

    A checkpoint that must have been made and is gone is no beginning: ``ConfigError`` says what to do.
    """
    run, every = record.run, OmegaConf.select(record.config, "checkpoint.every", default=0)
    folder = run / "checkpoints"
    if (found := latest(folder)) is not None or (folder / SAVING).exists():
        return found
    model_at, reached = model_step(run), logged(run)
    if model_at is not None or 0 < every < reached:
        raise ConfigError(
            f"{run} has no checkpoint to go on from, though it came to step {max(model_at or 0, reached)}: bring "
            f"{folder.name}/ back, or begin another run with run="
            + (f". {MODEL_FILE} still generates: mmdiff sample {shlex.quote(str(run))}" if model_at is not None else "")
        )
    return None


def model_step(run: Path) -> int | None:
    """The step of the run's model file, 0 where that is damaged, None where there is none."""
    if not (run / MODEL_FILE).exists():
        return None
    try:
        with safe_open(run / MODEL_FILE, framework="pt") as file:
            return int(json.loads(file.metadata()["mmdiff"])["step"])
    except (SafetensorError, TypeError, KeyError, ValueError):
        return 0


def logged(run: Path) -> int:
    """The last step in the log of a run; 0 where there is none."""
    path = run / "metrics.csv"
    return max(map(int, re.findall(rb"^(\d+),", path.read_bytes(), re.M)), default=0) if path.exists() else 0
