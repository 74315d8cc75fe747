"""Places that a command needs, tried before its work: a device, a folder to write to."""

import tempfile
from pathlib import Path

from ..config import ConfigError


def device(name: str | None) -> str:
    """The device of that name, or the best there is. Raises ``ConfigError`` where this machine has no such."""
    import torch

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


def writable(key: str, folder: str | Path) -> None:
    """Raise ``ConfigError`` where no file can be made in a folder, or no such folder in the nearest one there is."""
    folder = Path(folder).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists() or path.is_symlink())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ConfigError(f"{key}={folder} cannot be written to: {error.strerror or error}") from None
