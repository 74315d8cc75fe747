"""Places that a command writes to, tried before its work."""

import tempfile
from pathlib import Path

from ..config.build import ConfigError


def writable(key: str, folder: str | Path) -> None:
    """Raise ``ConfigError`` where no file can be made in a folder, or no such folder in the nearest one there is."""
    folder = Path(folder).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists() or path.is_symlink())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ConfigError(f"{key}={folder} cannot be written to: {error.strerror or error}") from None


def beside(run: str | Path, name: str) -> Path:
    """Where what is found out of a model goes: the folder ``name`` in its run directory, FILE-name beside a file."""
    run = Path(run)
    return run / name if run.is_dir() else run.with_name(f"{run.stem}-{name}")
