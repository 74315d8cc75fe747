"""Which exceptions are told in a line, and their exit codes; anything else is our fault and shows its traceback."""

import contextlib
import sys

from hydra.errors import HydraException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from ..config.build import ConfigError
from ..config.header import ModelFileError

MISTAKES = (ConfigError, ModelFileError, HydraException, OmegaConfBaseException, ValueError, FileExistsError)
FAILURES = (FloatingPointError, OSError, ImportError)
ALLOCATION = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")


def explained(error: Exception) -> tuple[str, int] | None:
    """The text for the user and the exit code: 2 for a mistake, 1 for a failure; None for a fault of the program."""
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is not set: add {error.full_key}=VALUE", 2
    if _of_memory(error):
        reason = " ".join(str(error).split()).partition(" Exception raised from")[0]
        return (f"the memory is full{f' ({reason[:200]})' if reason else ''}: take a smaller loader.batch_size or "
                "batch_size, fewer loader.workers or a smaller adapter", 1)
    text = "; ".join([str(error).strip(), *getattr(error, "__notes__", ())])
    if isinstance(error, MISTAKES):
        return text, 2
    return (text, 1) if isinstance(error, FAILURES) else None


def report(command: str, error: Exception, *, where: str | None = None) -> int | None:
    """Tell an error in a line and give the exit code; None, and nothing told, for a fault of the program."""
    if (known := explained(error)) is None:
        return None
    text, code = known
    with contextlib.suppress(OSError):                                # whoever read it may be gone
        print(f"mmdiff {command}: {f'{where}: ' if where else ''}{text}", file=sys.stderr)
    return code


def _of_memory(error: Exception) -> bool:
    """Whether a request for memory was refused: Python, NumPy, torch and the operating system say it in four ways."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(part in text for part in ALLOCATION)
    )
