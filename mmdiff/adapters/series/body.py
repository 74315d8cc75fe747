"""The network in whose features samples are compared; small, trained on the reference data, unlike any generator.

    series  each channel to unit variance -> 5 convolutions -> mean
"""

import torch
from torch import Tensor, nn

from ..judge import WIDTH, Body, activations


class SeriesBody(Body):
    """Series ``(B, channels, T)`` in whatever unit."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1))
        self.register_buffer("std", torch.ones(1, channels, 1))
        layers: list[nn.Module] = []
        for before, stride in ((channels, 1), (WIDTH, 2), (WIDTH, 2), (WIDTH, 2), (WIDTH, 1)):
            layers += [nn.Conv1d(before, WIDTH, 5, stride, 2), nn.BatchNorm1d(WIDTH), nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def measure(self, x: Tensor) -> None:
        self.mean.copy_(x.mean((0, 2), keepdim=True))
        std = x.std((0, 2), keepdim=True)
        self.std.copy_(torch.where(std > 1e-6 * self.mean.abs(), std, 1))      # a channel that does not vary has none

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x - self.mean) / self.std).mean(-1)

    def activations(self, x: Tensor) -> list[Tensor]:
        return activations(self.body, (x - self.mean) / self.std)

    def augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Under white noise of up to 0.1 standard deviations."""
        level = 0.1 * torch.rand(len(x), 1, 1, generator=generator)
        return x + level * self.std * torch.randn(x.shape, generator=generator)
