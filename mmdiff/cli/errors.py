"""Which exceptions are a user's to mend, and what they are told; anything else is ours, and shows its traceback."""

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ..checkpoint import ModelFileError
from ..config import ConfigError


def message(error: Exception) -> str | None:
    """The text for the user, or None where the error is a fault of the program."""
    if isinstance(error, ConfigError | ModelFileError | HydraException | OmegaConfBaseException):
        return str(error).strip()
    if isinstance(error, ValueError | FloatingPointError | OSError | ImportError):
        return f"{error}"
    return None
