"""The network in whose features samples are compared; small, trained on the reference data, unlike any generator.

    clip    frames of 32 x 32 -> 3 convolutions of stride 2 -> 2 convolutions over time -> mean
"""

import torch
from torch import Tensor, nn

from ..judge import WIDTH, Body, activations


class ClipBody(Body):
    """Clips ``(B, channels, T, H, W)`` in [-1, 1], looked at in 32 x 32."""

    looks_at_frames, extra = True, 32

    def __init__(self, channels: int):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((channels, 24), (24, 48), (48, 96)):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.look = nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * 16, WIDTH))
        self.follow = nn.Sequential(
            nn.ReLU(), nn.Conv1d(WIDTH, WIDTH, 3, padding=1), nn.ReLU(), nn.Conv1d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
        )

    def _looked(self, x: Tensor) -> Tensor:
        return self.look(_small(x)).unflatten(0, (len(x), -1))        # (B, T, WIDTH)

    def activations(self, x: Tensor) -> list[Tensor]:
        return [h.unflatten(0, (len(x), -1)).transpose(1, 2) for h in activations(self.look, _small(x))]

    def forward(self, x: Tensor) -> Tensor:
        return self.follow(self._looked(x).transpose(1, 2)).mean(2)

    def frames(self, x: Tensor) -> Tensor:
        return self._looked(x).relu()

    def seen(self, x: Tensor) -> Tensor:
        """The first and the last frame in 4 x 4: what asks features for motion, which a class does not."""
        return nn.functional.adaptive_avg_pool2d(x.mean(1)[:, [0, -1]], 4).flatten(1)

    def augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Under white noise of up to 0.1."""
        level = 0.1 * torch.rand(len(x), 1, 1, 1, 1, generator=generator)
        return x + level * torch.randn(x.shape, generator=generator)


def _small(x: Tensor) -> Tensor:
    """``(B, C, T, H, W)`` -> frames ``(B T, C, 32, 32)``."""
    return nn.functional.adaptive_avg_pool2d(x.transpose(1, 2).flatten(0, 1), 32)
