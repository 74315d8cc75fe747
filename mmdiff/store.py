"""The model file: one safetensors file with the weights that generate, and in its header all that builds the model.

    header.mmdiff = JSON {format, config, bases, step, ..., sha256},      sha256 = hash of its rest and of every tensor

No pickle is involved in writing or reading it. A changed byte, a truncated file or a foreign class is an error that
names the file and the fault.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Gt
from omegaconf import DictConfig
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .adapters.base import Codec
from .config.adapter import build_adapter, build_codec, build_model
from .config.build import ConfigError, build, part, plain
from .config.header import FORMAT, ModelFileError, model_file, read_header
from .config.inherit import PARTS
from .config.kinds import KindError, check
from .core.guidance import Guidance
from .core.samplers import Sampler
from .data.dataset import Dataset, spread
from .data.labels import plain_fields
from .data.writing import write_atomic
from .model import DiffusionModel

SIZED = 101
"""Samples of which the middle one by size is what a request without a size gets."""


def model_config(config: DictConfig, codec: Codec, dataset: Dataset) -> dict[str, Any]:
    """What a model file keeps of a resolved training configuration: the parts that generate, what the data can tell,
    and the size of a usual sample."""
    stored = {name: plain(config[name]) for name in PARTS}
    stored["adapter"]["conditioner"]["fields"] = plain_fields(dataset.fields)
    sizes = [dataset.size(i) or codec.size(dataset.read(i)[0]) for i in spread(len(dataset), SIZED)]
    stored["size"] = usual(sizes)
    return stored


def usual(sizes: Sequence[dict[str, float]]) -> dict[str, float]:
    """The middle one by volume: a size that occurs, which medians of each number alone need not be."""
    ordered = sorted(sizes, key=lambda size: (math.prod(size.values()), *size.values()))
    return dict(ordered[(len(ordered) - 1) // 2])


def save_model(model: DiffusionModel, config: dict[str, Any], path: str | Path, **facts: Any) -> str:
    """Write ``model`` with its resolved ``config`` and further ``facts`` (such as ``step``); gives the file's hash."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    header = {"format": FORMAT, "config": config, **facts}
    header["sha256"] = _digest(header, tensors)
    write_atomic(Path(path), save(tensors, {"mmdiff": json.dumps(header)}))
    return header["sha256"]


def chosen_device(name: str | None) -> str:
    """The device of that name, or the best there is. Raises ``ConfigError`` where this machine has no such."""
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"device is one that this machine has, such as cpu or cuda:0 (see mmdiff doctor), got {name!r}: {reason}"
        ) from None
    return name


def load_model(
    path: str | Path, *, device: str | torch.device = "cpu", encoder: str | Path | None = None
) -> tuple[DiffusionModel, dict[str, Any]]:
    """The model of a run directory or model file, ready to generate, and its header; ``encoder`` is where the folder of
    its text encoder is now."""
    path = model_file(path)
    header, tensors = _read(path)
    config = header.get("config")
    try:
        if encoder is not None:
            placed(part(config, "adapter"), encoder)
        codec, reader = build_codec(part(config, "adapter"))
        adapter = build_adapter(part(config, "adapter"), codec, reader)
        model = build_model(adapter, part(config, "diffusion"))
        model.load_state_dict(tensors)
        check(part(config, "size"), dict[str, Annotated[float, Gt(0)]], key="size")
        for name, role in (("sampler", Sampler), ("guidance", Guidance)):
            build(part(config, name), role)
    except (ConfigError, KindError, RuntimeError) as error:
        raise ModelFileError(f"{path}: {' '.join(str(error).split())}") from error
    return model.to(device).eval().requires_grad_(False), header


def placed(adapter: dict[str, Any], encoder: str | Path) -> None:
    """Name the folder of a text encoder anew. Raises ``ConfigError`` where the model has none that is in a folder."""
    if "path" not in (adapter.get("text") or {}):
        raise ConfigError(f"encoder={encoder}: the model reads no text by an encoder of a folder, so leave it out")
    adapter["text"]["path"] = str(encoder)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    header = read_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is damaged or not a safetensors file: {error}") from None
    if header["sha256"] != _digest(header, tensors):
        raise ModelFileError(f"{path} is damaged: its contents do not match the hash in its header")
    return header, tensors


def _digest(header: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    told = {name: value for name, value in header.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
