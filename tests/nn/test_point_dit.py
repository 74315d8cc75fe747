"""The point transformer: a set in, a set out."""

import pytest
import torch

from mmdiff.nn.point_dit import PointDiT, VoxelBranch
from tests.nn.network_contract import CHANNELS, COND_DIM, NetworkContract, draw, first


class TestPointDiT(NetworkContract):
    def make(self, **options):
        return PointDiT(CHANNELS, COND_DIM, **{"dim": 32, "depth": 2, "heads": 2, "frequencies": 4, **options})


class TestWithVoxels(NetworkContract):
    def make(self, **options):
        return PointDiT(CHANNELS, COND_DIM, **{"dim": 32, "depth": 2, "heads": 2, "voxels": 4, **options})

    def test_an_all_true_mask_is_no_mask(self):
        network, (x, level, cond) = self.awake(), draw(3, 12)
        torch.testing.assert_close(network(x, level, cond, first([12] * 3, 12)), network(x, level, cond))


@pytest.mark.parametrize("options", [{}, {"voxels": 5}])
def test_permuting_the_points_permutes_the_output(options):
    make = TestPointDiT()
    network, (x, level, cond) = make.awake(**options), draw(2, 20)
    order = torch.randperm(20)
    torch.testing.assert_close(
        network(x[..., order], level, cond), network(x, level, cond)[..., order], atol=1e-5, rtol=1e-4
    )


def test_a_point_given_clean_is_told_apart_and_its_level_goes_with_it():
    network, (x, level, cond) = TestPointDiT().awake(), draw(2, 12)
    same = level[:, None].expand(-1, 12)
    torch.testing.assert_close(network(x, same, cond), network(x, level, cond))
    given = torch.where(torch.arange(12) < 5, 0, same)
    assert (network(x, given, cond) - network(x, level, cond)).abs().max() > 1e-3
    order = torch.randperm(12)
    torch.testing.assert_close(
        network(x[..., order], given[:, order], cond), network(x, given, cond)[..., order], atol=1e-5, rtol=1e-4
    )


def test_the_voxel_branch_reads_back_what_lies_near():
    torch.manual_seed(0)
    branch = VoxelBranch(8, resolution=9)
    torch.nn.init.normal_(branch.leave.weight)
    places, z = torch.rand(1, 40, 3) * 4 - 2, torch.randn(1, 40, 8)
    out = branch(z, places, None)
    moved = z.clone()
    moved[:, 0] += 1
    change = (branch(moved, places, None) - out).abs().amax(-1)[0]
    distance = (places[0] - places[0, 0]).abs().amax(-1)
    assert change[0] > 0
    assert (change[distance > 3.1] == 0).all()
