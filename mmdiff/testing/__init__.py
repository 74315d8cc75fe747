"""What tests are made of: problems with known answers, and the laws that every adapter keeps."""

from .contract import AdapterContract
from .exact import Gaussian, Mixture, denoiser, endpoint, guided
from .trial import Trial

__all__ = ["AdapterContract", "Gaussian", "Mixture", "Trial", "denoiser", "endpoint", "guided"]
