"""Noise goes through a network of one axis at once, however wide it is."""

import pytest
import torch

from mmdiff.nn.dit1d import DiT1d
from mmdiff.nn.unet1d import UNet1d

CHANNELS = 48
MAKE = {
    "unet": lambda: UNet1d(CHANNELS, 0, base=16, multipliers=(1, 2), heads=2),
    "dit": lambda: DiT1d(CHANNELS, 0, dim=16, depth=1, heads=2),
}


@pytest.mark.parametrize("name", MAKE)
def test_noise_of_more_channels_than_features_is_handed_on_within_fifty_steps(name):
    """Where data are 0 a velocity is x / t: of 48 directions 16 features can hold a third."""
    torch.manual_seed(0)
    network = MAKE[name]()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(50):
        x, level = torch.randn(8, CHANNELS, 12), torch.rand(8)
        loss = (network(x, level) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2
