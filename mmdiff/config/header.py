"""What a model file says of itself, read without its tensors.

    header.mmdiff = JSON {format, config, bases, step, ..., sha256},      bases = what it comes from, nearest first

A file with a ``base`` holds a change of bases[0] alone, which is at that path from the file's folder.

A file may come from anybody: its configuration is plain values, checked where it is built (``mmdiff.config.build``).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from . import kinds
from .files import MODEL_FILE

FORMAT = 1
BASES = list[dict[str, str | int | None]]
"""The chain of bases: of each its ``name``, ``sha256``, ``step`` and, where it has one, ``consent``."""


class ModelFileError(ValueError):
    """A model file that cannot be used, and why."""


def model_file(path: str | Path) -> Path:
    """The model file of a run directory, or the file itself. Raises ``ModelFileError`` where there is none."""
    path = Path(path).expanduser()
    if not path.exists():
        raise ModelFileError(f"no model at {path}: there is no such run directory or file")
    path = path / MODEL_FILE if path.is_dir() else path
    if not path.is_file():
        raise ModelFileError(f"no model at {path}: a run writes it with its first checkpoint")
    return path


def read_header(path: Path) -> dict[str, Any]:
    """The header of a model file, its hash not checked. Raises ``ModelFileError`` for what this version cannot read."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is damaged or not a safetensors file: {error}") from None
    if "mmdiff" not in metadata:
        raise ModelFileError(f"{path} was not written by mmdiff: its header has no configuration")
    try:
        header = json.loads(metadata["mmdiff"])
        kinds.check(header, dict[str, Any], key="header")
        bases = header.get("bases", [])
        kinds.check(bases, BASES, key="bases")
        intact = isinstance(header["format"], int) and isinstance(header["sha256"], str)
        intact &= "base" not in header or (isinstance(header["base"], str) and {"name", "sha256"} <= bases[0].keys())
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        intact = False
    if not intact:
        raise ModelFileError(f"{path} is damaged: its contents do not match the hash in its header")
    if header["format"] > FORMAT:
        raise ModelFileError(f"{path} has format {header['format']}, this version reads up to {FORMAT}: update mmdiff")
    return header


def consent(header: Mapping[str, Any]) -> dict[str, str]:
    """What those who are seen or heard in a model's data, its bases' and its changes' have agreed to, as a fact."""
    parts = (header, *header.get("lora", []), *header.get("bases", []))
    said = [part["consent"] for part in parts if part.get("consent")]
    return {"consent": "; ".join(map(str, dict.fromkeys(said)))} if said else {}


def chain(path: Path, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The bases of what starts from the model at ``path``: that one, then those that it came from itself."""
    name = path.parent.name if path.name == MODEL_FILE else path.name
    link = {"name": name, "sha256": header["sha256"], "step": header.get("step")}
    link |= {"consent": header["consent"]} if "consent" in header else {}
    return [link, *header.get("bases", [])]
