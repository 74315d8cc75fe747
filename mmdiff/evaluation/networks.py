"""Networks whose features samples are compared in, one a modality; small, and trained on the reference data.

    sound   wave of peak 1 -> log-mel of 40 bands -> 4 convolutions over time -> mean
    clip    frames of 32 x 32 -> 3 convolutions of stride 2 -> 2 convolutions over time -> mean
    cloud   one perceptron for all points -> maximum                                            (PointNet)
    series  each channel to unit variance -> 5 convolutions -> mean

They are on purpose unlike any generator here. Bands of sound are channels: with convolutions over bands too, a network
hears the vocoder before the word.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ..adapters.audio.mel import LogMel, MelSpec
from . import pointnet
from .points import cube

WIDTH = 128


class Body(nn.Module, ABC):
    """Samples ``(B, C, *S)`` -> features ``(B, WIDTH)``."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` -> ``(B, WIDTH)``."""

    @abstractmethod
    def augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Samples as training sees them."""

    def measure(self, x: Tensor) -> None:
        """Take from training samples ``(N, C, *S)`` what is fixed before training, such as their scale."""

    def frames(self, x: Tensor) -> Tensor | None:
        """``(B, T, WIDTH)`` of each frame alone, where there are frames."""
        return None

    def seen(self, x: Tensor) -> Tensor | None:
        """``(B, K)``: what features should tell besides the labels, None for nothing."""
        return None


class SoundBody(Body):
    """Waves ``(B, 1, L)`` of any level at ``sample_rate`` Hz."""

    def __init__(self, sample_rate: int):
        super().__init__()
        window = round(0.025 * sample_rate)
        self.front_end = LogMel(MelSpec(
            sample_rate=sample_rate, n_fft=1 << (window - 1).bit_length(), win_length=window,
            hop_length=round(0.01 * sample_rate), n_mels=40, f_max=sample_rate / 2, floor=1e-3, centre="start",
        ))
        layers: list[nn.Module] = []
        for before, kernel, stride in ((40, 5, 1), (WIDTH, 3, 2), (WIDTH, 3, 2), (WIDTH, 3, 1)):
            layers += [nn.Conv1d(before, WIDTH, kernel, stride, kernel // 2), nn.BatchNorm1d(WIDTH), nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        waves = x[:, 0] / x[:, 0].abs().amax(1, keepdim=True).clamp(min=1e-8)
        lengths = torch.full((len(waves),), waves.shape[-1], device=waves.device)
        return self.body(self.front_end(waves, lengths) / 3 + 0.5).mean(-1)

    def augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Shifted by up to an eighth in a circle, and under white noise of 0.001 to 0.1 of the peak."""
        size = x.shape[-1]
        shift = torch.randint(-(size // 8), size // 8 + 1, (len(x), 1), generator=generator)
        waves = x[:, 0].gather(1, (torch.arange(size) - shift) % size)
        level = 10 ** (-3 + 2 * torch.rand(len(x), 1, generator=generator)) * waves.abs().amax(1, keepdim=True)
        return (waves + level * torch.randn(waves.shape, generator=generator))[:, None]


class ClipBody(Body):
    """Clips ``(B, channels, T, H, W)`` in [-1, 1], looked at in 32 x 32."""

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
        small = nn.functional.adaptive_avg_pool2d(x.transpose(1, 2).flatten(0, 1), 32)
        return self.look(small).unflatten(0, (len(x), -1))            # (B, T, WIDTH)

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


class CloudBody(pointnet.PointFeatures, Body):
    """Clouds ``(B, 3, N)``, each put into the unit cube; the order of the points must mean nothing."""

    def forward(self, x: Tensor) -> Tensor:
        places = torch.from_numpy(cube(x[:, :3, :512].double().mT.numpy())).float().mT
        return self.features(places)

    def augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """256 points at random, stretched and moved a little."""
        return pointnet.augmented(x[:, :3], generator)


class SeriesBody(Body):
    """Series ``(B, channels, T)`` in whatever unit."""

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

    def augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Under white noise of up to 0.1 standard deviations."""
        level = 0.1 * torch.rand(len(x), 1, 1, generator=generator)
        return x + level * self.std * torch.randn(x.shape, generator=generator)
