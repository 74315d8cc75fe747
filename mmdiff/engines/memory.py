"""Memory: what is free of it on a device, and what tensors take."""

import os
import weakref
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

GROUP = Path("/sys/fs/cgroup")
"""Where a container says what it may take (control groups, version 2)."""


class Peak(TorchDispatchMode):
    """The most bytes that tensors have at once that are made under it; those of ``module`` are not counted."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.now = self.most = 0
        self._known = {_storage(tensor) for tensor in chain(module.parameters(), module.buffers())}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._count, out)
        return out

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if (key := storage._cdata) not in self._known:
            self._known.add(key)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._freed, key, storage.nbytes())

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def free_bytes(device: torch.device) -> int:
    """What is free on a device; of the host what the system and, in a container, its limit leave."""
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held
    try:
        rows = dict(row.split(":") for row in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
        free = 1024 * int(rows["MemAvailable"].split()[0])
    except OSError:                                                   # no Linux: all of it
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit, taken = ((GROUP / name).read_text(encoding="utf-8").strip() for name in ("memory.max", "memory.current"))
        return min(free, int(limit) - int(taken))
    except (OSError, ValueError):                                     # none, or "max"
        return free


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
