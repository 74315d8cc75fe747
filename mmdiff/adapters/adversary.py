"""What learns to tell decoded samples from real ones, so that a codec learns what no measured error asks for: detail.

    critic:  mean relu(1 - D(x)) + mean relu(1 + D(y))        codec:  + weight (-mean D(y))  for draws from ``start`` on

(Hinge loss: Lim & Ye 2017; on patches: Isola et al. 2017, section 3.2.) Both are of one pass: the codec sees a critic
whose weights stand still, the critic samples that do. The critic is in checkpoints, and never in a model file.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn
from torch.func import functional_call

from ..core.types import Masked
from .base import Amount, Count

Draws = Annotated[int, Ge(0)]


class Adversary(nn.Module, ABC):
    """A critic, its ``weight`` in the loss of the codec from the draw ``start`` on, and its learning rate."""

    def __init__(self, *, weight: Amount = 0.1, start: Draws = 10000, lr: Amount = 5e-4):
        super().__init__()
        self.weight, self.start, self.lr = weight, start, lr

    @abstractmethod
    def make(self, channels: int, axes: int) -> None:
        """Make the layers for samples ``(B, channels, *S)`` of so many axes."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, *S)`` -> ``(B, ...)``, above 0 where it looks real."""

    def generator_loss(self, output: Masked, draws: Tensor) -> Tensor:
        """What the codec's loss has of it, ``(B,)``: its own weights get no gradient. ``draws`` are on the host."""
        if not (draws >= self.start).any():
            return output.x.new_zeros(len(output.x))
        still = {name: value.detach() for name, value in (*self.named_parameters(), *self.named_buffers())}
        loss = -functional_call(self, still, (output.zeroed.x,)).flatten(1).mean(1)
        return self.weight * torch.where(draws.to(loss.device, non_blocking=True) >= self.start, loss, 0)

    def critic_loss(self, output: Masked, real: Masked) -> tuple[Tensor, Tensor]:
        """Its own loss ``(B,)``, and its accuracy over patches, ``(B,)``: 0.5 is chance."""
        x, y = (self(part.zeroed.x.detach()).flatten(1) for part in (real, output))
        right = ((x > 0).float().mean(1) + (y <= 0).float().mean(1)) / 2
        return F.relu(1 - x).mean(1) + F.relu(1 + y).mean(1), right.detach()


class PatchCritic(Adversary):
    """Convolutions over patches, of a sound in time, of each frame of a film in space; ``depth`` halvings from
    ``width`` channels."""

    def __init__(
        self, *, width: Count = 32, depth: Count = 3, weight: Amount = 0.1, start: Draws = 10000, lr: Amount = 5e-4
    ):
        super().__init__(weight=weight, start=start, lr=lr)
        self.width, self.depth = width, depth

    def make(self, channels: int, axes: int) -> None:
        if axes not in (1, 2, 3):
            raise ValueError(f"PatchCritic looks at sounds, pictures and films, and these samples have {axes} axes")
        conv: type[nn.Conv1d] | type[nn.Conv2d] = nn.Conv1d if axes == 1 else nn.Conv2d
        widths: Sequence[int] = [channels, *(self.width * 2**i for i in range(self.depth))]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [conv(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, conv(widths[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        if (least := min(x.shape[max(2, x.ndim - 2) :])) < 2**self.depth:
            raise ValueError(f"adversary.depth={self.depth} halves samples so often, and these have {least} positions: "
                             f"take {least.bit_length() - 1} at most, or larger samples")
        if x.ndim < 5:
            return self.layers(x)
        frames = self.layers(x.transpose(1, 2).flatten(0, 1))         # (B T, 1, H', W')
        return frames.unflatten(0, (len(x), x.shape[2]))
