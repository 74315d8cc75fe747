"""mmdiff: a multimodal diffusion framework for audio, video and 3D.

``mmdiff.load("runs/x").sample(n=4, seed=0, cond={"digit": "7"})`` generates from any run directory or model file.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .generation.edits import Edit
    from .generation.pipeline import Pipeline, load
    from .generation.request import Request

__all__ = ["Edit", "Pipeline", "Request", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in {"load", "Edit", "Pipeline", "Request"}:                       # torch loads when it is first needed
        from .generation import pipeline as generate

        return getattr(generate, name)
    raise AttributeError(f"module 'mmdiff' has no attribute {name!r}")
