"""Fully sharded training (FSDP2): each process holds its part of weights, averages and optimizer state.

    forward, backward of a block:  gather its weights -> compute -> scatter its gradients -> drop its weights

The units are the blocks of the network. Weights of a public model are spread too, and the averages, which share them,
are put together with those on the host. A checkpoint is a folder to which every process writes its part
(``torch.distributed.checkpoint``); any number of processes can read it.
"""

import copy
import importlib
import io
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.load import _METADATA_FILENAME as FACTS_FILE
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from ..nn.frozen import frozen_tensors, still_frozen
from ..nn.network import blocks

METADATA = (
    "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
    "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
)
CONTENTS = {
    "pathlib.PosixPath", "torch.Size", "torch.serialization._get_layout",
    "torch.distributed.checkpoint.filesystem._StorageInfo",
    *(f"torch.distributed.checkpoint.metadata.{name}" for name in METADATA),
}
"""What the table of contents of a checkpoint is made of."""


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


def shard(trainable: nn.ModuleDict, mesh: DeviceMesh, *, unsharded: set[nn.Parameter] | None = None) -> None:
    """Spread the parameters of each module, but for those that stay ``unsharded``, block by block, over the
    processes of ``mesh``."""
    with still_frozen(trainable):
        for module in trainable.values():
            for block in blocks(module):
                fully_shard(block, mesh=mesh, ignored_params=unsharded)
            fully_shard(module, mesh=mesh, ignored_params=unsharded)


def public(module: nn.Module) -> set[nn.Parameter]:
    """The parameters of ``module`` that are those of a public model: in memory whole once, beside their parts."""
    return {tensor for tensor in frozen_tensors(module).values() if isinstance(tensor, nn.Parameter)}


def gathered(sharded: nn.ModuleDict, like: nn.ModuleDict) -> nn.ModuleDict:
    """The whole of a sharded module, on every process, in the form of ``like``. All processes must call it."""
    tensors = {
        name: value.full_tensor() if isinstance(value, DTensor) else value
        for name, value in sharded.state_dict().items()
    }
    module = copy.deepcopy(like)
    module.load_state_dict(tensors, assign=True)
    return module.to(next(iter(tensors.values())).device)


class _Plain(pickle.Unpickler):
    """Reads the table of contents of a checkpoint, and nothing that a pickle can do besides."""

    def find_class(self, module: str, name: str) -> Any:
        dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if dtype or f"{module}.{name}" in CONTENTS:
            return getattr(importlib.import_module(module), name)
        raise ValueError(f"it is refused, as it names {module}.{name}")


def contents(folder: Path) -> Metadata:
    """The table of contents of a sharded checkpoint. Raises ``ValueError`` where it holds anything else."""
    with (folder / ".metadata").open("rb") as file:
        found = _Plain(file).load()
    if not isinstance(found, Metadata):
        raise ValueError("its .metadata is no table of contents")
    return found


def read_facts(folder: Path) -> dict[str, Any]:
    """What a sharded checkpoint tells besides tensors.

    Raises ``ValueError`` where a part is missing, cut short, elsewhere, or holds more than plain values: all of it is
    looked at here, as torch reads what is no tensor without a question.
    """
    found = contents(folder)
    for key, part in found.storage_data.items():
        file = folder / part.relative_path
        if Path(part.relative_path).name != part.relative_path or file.is_symlink():
            raise ValueError(f"{part.relative_path} is refused: a part is a file of the folder itself")
        if part.offset < 0 or not file.exists() or file.stat().st_size < part.offset + part.length:
            raise ValueError(f"{part.relative_path} is missing or cut short")
        if isinstance(found.state_dict_metadata[key.fqn], BytesStorageMetadata):
            with file.open("rb") as opened:
                opened.seek(part.offset)
                torch.load(io.BytesIO(opened.read(part.length)), weights_only=True)
    return torch.load(folder / FACTS_FILE, weights_only=True)


def _flush(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
