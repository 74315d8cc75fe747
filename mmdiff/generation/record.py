"""What the record of a sample says: what was asked for, the model and its settings, and the stack that computed it."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import __version__
from ..config.header import consent
from ..provenance.record import identity
from .request import Request

if TYPE_CHECKING:
    from .pipeline import Pipeline

LIBRARIES = ("numpy", "scipy", "torchaudio", "av", "soundfile", "trimesh")
"""Those that compute or write samples, besides torch."""


def facts(pipeline: "Pipeline", request: Request, path: Path, batch_size: int) -> dict[str, Any]:
    """The record of the sample that goes to ``path``."""
    header = pipeline.header
    found = {
        "file": path.name, "labels": request.labels, **({"negative": request.negative} if request.negative else {}),
        "seed": request.seed, "size": pipeline.size_of(request),
        **({"edit": request.edit.facts} if request.edit else {}),
        **({"controls": {k: file.facts for k, file in request.references.items()}} if request.controls else {}),
        **pipeline.settings, "batch_size": batch_size,
        "model": header["sha256"], "step": header.get("step"), "bases": header.get("bases", []),
        "lora": header.get("lora", []), **consent(header), "mmdiff": __version__, "torch": torch.__version__,
        "stack": stack(pipeline),
    }
    return {**found, "id": identity(found)}


def stack(pipeline: "Pipeline") -> dict[str, Any]:
    """What the last bits of a sample hang on besides mmdiff and torch."""
    device, runtime = pipeline.model.device, pipeline.computing.engine.runtime
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "device": name, "threads": torch.get_num_threads(), "cpu": torch.backends.cpu.get_cpu_capability(),
        "runtime": runtime, "python": platform.python_version(), **_versions(),
    }


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
