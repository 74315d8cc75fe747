import pytest

from mmdiff.nn.dit1d import DiT1d
from tests.nn.network_contract import CHANNELS, COND_DIM, NetworkContract


class TestDiT1d(NetworkContract):
    def make(self, **options):
        return DiT1d(CHANNELS, COND_DIM, dim=32, depth=2, heads=2, **options)


class TestDiT1dOfPatches(NetworkContract):
    def make(self, **options):
        return DiT1d(CHANNELS, COND_DIM, dim=32, depth=2, heads=2, patch=3, **options)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="heads"):
        DiT1d(CHANNELS, COND_DIM, dim=30, heads=4)
    with pytest.raises(ValueError, match="patch"):
        DiT1d(CHANNELS, COND_DIM, patch=0)
    with pytest.raises(ValueError, match="sdpa"):
        DiT1d(CHANNELS, COND_DIM, backend="flash")
