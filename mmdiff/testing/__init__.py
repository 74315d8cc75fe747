"""What tests are made of: problems with known answers, and the laws that every adapter keeps."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import AdapterContract
    from .exact import Gaussian, Mixture, denoiser, endpoint, guided
    from .trial import Trial

__all__ = ["AdapterContract", "Gaussian", "Mixture", "Trial", "denoiser", "endpoint", "guided"]

EXACT = ("Gaussian", "Mixture", "denoiser", "endpoint", "guided")
MODULES = {"AdapterContract": "contract", "Trial": "trial", **dict.fromkeys(EXACT, "exact")}


def __getattr__(name: str) -> Any:
    if name in MODULES:                                               # pytest loads its plug-in wherever mmdiff is
        return getattr(import_module(f".{MODULES[name]}", __name__), name)
    raise AttributeError(f"module 'mmdiff.testing' has no attribute {name!r}")
