"""Which exceptions are told in a line, and their exit codes; anything else is our fault and shows its traceback."""

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from ..checkpoint import ModelFileError
from ..config import ConfigError

MISTAKES = (ConfigError, ModelFileError, HydraException, OmegaConfBaseException, ValueError, FileExistsError)
FAILURES = (FloatingPointError, OSError, ImportError)


def explained(error: Exception) -> tuple[str, int] | None:
    """The text for the user and the exit code: 2 for a mistake, 1 for a failure; None for a fault of the program."""
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is not set: add {error.full_key}=VALUE", 2
    if isinstance(error, OverrideParseException):
        key = error.override.partition("=")[0]
        return f"cannot read {error.override}: a value with brackets or spaces is quoted twice, \"{key}='...'\"", 2
    if isinstance(error, MISTAKES):
        return str(error).strip(), 2
    return (str(error).strip(), 1) if isinstance(error, FAILURES) else None
