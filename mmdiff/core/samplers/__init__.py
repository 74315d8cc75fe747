"""Samplers: (denoise, x1, schedule) -> x0."""

from .ancestral import DDIM, DDPM, Euler, EulerAncestral
from .base import Sampler
from .dpm import DPMSolverPP2M, DPMSolverPP2MSDE, DPMSolverPP2S, DPMSolverPP3M
from .heun import Heun
from .unipc import UniPC
