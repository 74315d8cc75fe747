"""Fully sharded training (FSDP2): each process holds its part of weights, averages and optimizer state.

    forward, backward of a block:  gather its weights -> compute -> scatter its gradients -> drop its weights

The units are the blocks of the network. A checkpoint is a folder to which every process writes its part
(``torch.distributed.checkpoint``); any number of processes can read it.
"""

import copy
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.load import _METADATA_FILENAME as FACTS_FILE
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from .blocks import blocks


class Sharded(ModelParallelStrategy):
    """Lightning's strategy for FSDP2 over all processes; a checkpoint appears under its name only when complete."""

    def setup_environment(self) -> None:
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None
    ) -> None:
        """Write the folder ``filepath``, each process its part."""
        path = Path(self.broadcast(str(filepath)))
        unfinished = path.with_name(f".{path.name}.partial")
        if self.is_global_zero:
            shutil.rmtree(unfinished, ignore_errors=True)
        self.barrier()
        super().save_checkpoint(checkpoint, unfinished, storage_options)
        self.barrier()
        if self.is_global_zero:
            _flush(unfinished)
            shutil.rmtree(path, ignore_errors=True)
            os.replace(unfinished, path)
        self.barrier()


def shard(trainable: nn.ModuleDict, mesh: DeviceMesh) -> None:
    """Spread the parameters of each module, block by block, over the processes of ``mesh``."""
    for module in trainable.values():
        for block in blocks(module):
            fully_shard(block, mesh=mesh)
        fully_shard(module, mesh=mesh)


def outline(module: nn.Module) -> nn.Module:
    """A copy whose parameters take no memory: what ``whole`` fills in."""
    empty = {id(p): nn.Parameter(p.detach().to("meta"), requires_grad=False) for p in module.parameters()}
    return copy.deepcopy(module, empty)


def whole(sharded: nn.Module, like: nn.Module) -> nn.Module:
    """The whole of a sharded module, on every process, in the form of ``like``. All processes must call it."""
    tensors = {
        name: value.full_tensor() if isinstance(value, DTensor) else value
        for name, value in sharded.state_dict().items()
    }
    module = copy.deepcopy(like)
    module.load_state_dict(tensors, assign=True)
    return module.to(next(iter(tensors.values())).device)


def read_facts(folder: Path) -> dict[str, Any]:
    """What a sharded checkpoint tells besides tensors. Raises ``ValueError`` where a part is missing or cut short."""
    for part in FileSystemReader(folder).read_metadata().storage_data.values():
        file = folder / part.relative_path
        if not file.exists() or file.stat().st_size < part.offset + part.length:
            raise ValueError(f"{part.relative_path} is missing or cut short")
    return torch.load(folder / FACTS_FILE, weights_only=True)


def _flush(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
