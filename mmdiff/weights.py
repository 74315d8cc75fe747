"""The bytes of a model file: tensors in safetensors, and a header of JSON with the hash of both.

    header.mmdiff = JSON {format, config, ..., sha256},      sha256 = hash of its rest and of every tensor

What they mean is in ``mmdiff.store``. No pickle is involved in writing or reading.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .config.header import FORMAT, ModelFileError, read_header
from .data.writing import write_atomic


def write_model_file(
    path: str | Path, tensors: Mapping[str, Tensor], config: dict[str, Any], facts: dict[str, Any]
) -> str:
    """Write tensors with what the header is to say; gives the hash."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {"format": FORMAT, "config": config, **facts}
    header["sha256"] = digest(header, tensors)
    write_atomic(Path(path), save(tensors, {"mmdiff": json.dumps(header)}))
    return header["sha256"]


def read_model_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors of a model file, its hash checked."""
    header = read_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is damaged or not a safetensors file: {error}") from None
    if header["sha256"] != digest(header, tensors):
        raise ModelFileError(f"{path} is damaged: its contents do not match the hash in its header")
    return header, tensors


def digest(header: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """The hash of a header without its own, and of every tensor."""
    identity = {name: value for name, value in header.items() if name != "sha256"}
    found = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
