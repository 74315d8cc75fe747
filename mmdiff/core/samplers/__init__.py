"""Samplers: ``sampler(denoise, x1, schedule) -> x0`` for every schedule and parameterization."""

from .adams import AdamsPC
from .ancestral import DDIM, DDPM, Euler, EulerAncestral
from .auto import Auto
from .base import Sampler
from .dpm import DPMSolverPP2M, DPMSolverPP2MSDE, DPMSolverPP2S, DPMSolverPP3M
from .heun import Heun
from .jump import Jump
from .unipc import UniPC

__all__ = [
    "DDIM", "DDPM", "AdamsPC", "Auto", "DPMSolverPP2M", "DPMSolverPP2MSDE", "DPMSolverPP2S", "DPMSolverPP3M", "Euler",
    "EulerAncestral", "Heun", "Jump", "Sampler", "UniPC",
]
