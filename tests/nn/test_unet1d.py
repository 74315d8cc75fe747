import pytest
import torch

from mmdiff.core.types import Condition
from mmdiff.nn.blocks import GroupNorm
from mmdiff.nn.unet1d import UNet1d
from tests.nn.network_contract import CHANNELS, COND_DIM, NetworkContract, first


class TestUNet1d(NetworkContract):
    def make(self, **options):
        return UNet1d(CHANNELS, COND_DIM, base=16, multipliers=(1, 2, 3), heads=2, **options)


class TestUNet1dOfOneLevel(NetworkContract):
    def make(self, **options):
        return UNet1d(CHANNELS, COND_DIM, base=16, multipliers=(2,), blocks=2, heads=2, **options)


def test_the_default_has_the_size_of_the_tiny_preset():
    count = sum(p.numel() for p in UNet1d(48, 128).parameters())
    assert 1.5e6 < count < 1.7e6


def test_the_bottom_sees_all_of_time():
    torch.manual_seed(0)
    network, x = UNet1d(CHANNELS, 0, base=16, heads=2), torch.randn(1, CHANNELS, 64)
    torch.nn.init.normal_(network.out.weight)
    torch.nn.init.normal_(network.attention.attention.out.weight)
    x.requires_grad_()
    network(x, torch.rand(1), Condition())[..., 0].sum().backward()
    assert (x.grad.abs().amax((0, 1)) > 0).all()


@pytest.mark.parametrize("affine", [True, False])
def test_masked_statistics_are_those_of_the_real_positions_alone(affine):
    norm, x = GroupNorm(2, 6, affine=affine).double(), torch.randn(2, 6, 9, dtype=torch.float64)
    if affine:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    out = norm(x, first([9, 4], 9))
    torch.testing.assert_close(out[:1], norm(x[:1]))
    torch.testing.assert_close(out[1:, :, :4], norm(x[1:, :, :4]))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="groups"):
        UNet1d(CHANNELS, COND_DIM, base=20)
    with pytest.raises(ValueError, match="heads"):
        UNet1d(CHANNELS, COND_DIM, base=16, heads=7)
    with pytest.raises(ValueError, match="one block"):
        UNet1d(CHANNELS, COND_DIM, blocks=0)
