"""What a codec is asked through the judge's own network, so that nothing is fetched: a file of ``mmdiff embedder``.

    Perceptual   mean over layers and places of |a / |a| - b / |b||^2,   a, b = what a layer sees of y and of x
                 (Zhang et al. 2018, LPIPS, eq. 1, all weights alike)
    Aligned      1 - cos(W mean z + b, features of x),   W and b learn with the codec, and are not part of it
                 (after Yao et al. 2025, VA-VAE, section 3.2)

The network is the file's, frozen, and is in no model file: who uses the codec does not need it.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...adapters.base import Amount, Codec
from ...adapters.coder import Coder
from ...adapters.judge import WIDTH, Body
from ...adapters.latents import LatentTask
from ...adapters.reconstruction import ReconstructionLoss, mean
from ...core.types import Masked
from .embedder import Embedder, load_embedder


class Perceptual(ReconstructionLoss):
    """How far samples are as the network of the file ``embedder`` sees them."""

    def __init__(self, *, embedder: str, weight: Amount = 1.0):
        super().__init__(weight=weight)
        self.embedder = embedder

    def check(self, axes: int) -> None:
        """Nothing: a judge knows its samples."""

    def open(self, base: Codec) -> None:
        self._body, self.digest = _body(self.embedder, base)

    def __call__(self, output: Masked, real: Masked) -> Tensor:
        body = self._body.to(output.x.device)
        with torch.no_grad():
            wanted = body.activations(real.zeroed.x)
        seen = body.activations(output.zeroed.x)
        apart = [mean((_unit(a) - _unit(b)).square().sum(1, keepdim=True), None)
                 for a, b in zip(seen, wanted, strict=True)]
        return torch.stack(apart).mean(0)


class Aligned(LatentTask):
    """The mean of a latent over its places tells what the network of the file ``embedder`` sees in the sample."""

    def __init__(self, *, embedder: str, weight: Amount = 0.1):
        super().__init__(weight=weight)
        self.embedder = embedder

    def make(self, latent: int, coder: Coder) -> None:
        self.head = nn.Linear(latent, WIDTH)

    def open(self, base: Codec) -> None:
        body, self.digest = _body(self.embedder, base)
        self._opened = (body,)                                        # in a tuple: no part of what learns

    def forward(self, z: Tensor, x: Tensor, eps: Tensor, apart: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        body = self._opened[0].to(x.device)
        with torch.no_grad():
            features = body(x)
        return 1 - F.cosine_similarity(self.head(z.flatten(2).mean(2)), features)


def _body(path: str, base: Codec) -> tuple[Body, str]:
    """The network of a file, for samples of a modality, and the hash of its weights. Raises ``ValueError`` for one that
    cannot be learned by."""
    judge = base.judge()
    found = load_embedder(Path(path), judge=judge, settings=judge.settings(base))
    if not isinstance(found, Embedder):
        raise ValueError(f"{path} is not a file of mmdiff embedder, and nothing can be learned through others")
    return found.body, found.facts["sha256"]


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=1, eps=1e-6)
