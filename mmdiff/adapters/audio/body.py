"""The network in whose features samples are compared; small, trained on the reference data, unlike any generator.

    sound   wave of peak 1 -> log-mel of 40 bands -> 4 convolutions over time -> mean
"""

import torch
from torch import Tensor, nn

from ..judge import WIDTH, Body, activations
from .mel import LogMel, MelSpec


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
        return self.body(self._heard(x)).mean(-1)

    def activations(self, x: Tensor) -> list[Tensor]:
        return activations(self.body, self._heard(x))

    def _heard(self, x: Tensor) -> Tensor:
        """``(B, 40, T)``."""
        waves = x[:, 0] / x[:, 0].abs().amax(1, keepdim=True).clamp(min=1e-8)
        lengths = torch.full((len(waves),), waves.shape[-1], device=waves.device)
        return self.front_end(waves, lengths) / 3 + 0.5

    def augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Shifted by up to an eighth in a circle, and under white noise of 0.001 to 0.1 of the peak."""
        size = x.shape[-1]
        shift = torch.randint(-(size // 8), size // 8 + 1, (len(x), 1), generator=generator)
        waves = x[:, 0].gather(1, (torch.arange(size) - shift) % size)
        level = 10 ** (-3 + 2 * torch.rand(len(x), 1, generator=generator)) * waves.abs().amax(1, keepdim=True)
        return (waves + level * torch.randn(waves.shape, generator=generator))[:, None]
