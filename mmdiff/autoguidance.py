"""Autoguidance by another run: its model, told the same labels by its own conditioner."""

from functools import cached_property
from pathlib import Path

from torch import Tensor

from .checkpoint import load_model
from .core.guidance import Autoguidance, Guidance
from .model import DiffusionModel


class RunAutoguidance(Guidance):
    """Guide away from ``weak``, a run directory or model file with the same latents and labels: smaller, or earlier.

    ``scale`` 1 is no guidance (Karras et al. 2024).
    """

    def __init__(self, weak: str | Path, *, scale: float = 2.0):
        self.weak, self.scale = weak, scale

    @cached_property
    def model(self) -> DiffusionModel:
        """The weak model, read when it is first needed."""
        return load_model(self.weak)[0]

    def told(self, labels: dict[str, Tensor]) -> Guidance:
        model = self.model.to(next(iter(labels.values())).device) if labels else self.model
        return Autoguidance(model.denoiser, scale=self.scale, weak_cond=model.conditioner(labels))

    def __call__(self, denoiser, cond, *, null, mask=None):
        raise TypeError("RunAutoguidance must be told the labels first: call told(labels)")
