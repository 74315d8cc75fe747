"""What a run's last checkpoint holds, in one form whether it is sharded or not."""

from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict_from_keys

from mmdiff.training.checkpoints import latest


def state(run: Path) -> dict[str, Any]:
    """Weights and averages (``state_dict``), optimizer and lr_schedule, whole."""
    path, _ = latest(run / "checkpoints")
    if path.is_dir():
        found = _load_state_dict_from_keys(storage_reader=FileSystemReader(path))
        return {**found, "lr_schedulers": torch.load(path / "meta.pt", weights_only=True)["lr_schedulers"]}
    saved = torch.load(path, weights_only=True)
    return {name: saved[name] for name in ("state_dict", "optimizer_states", "lr_schedulers")}
