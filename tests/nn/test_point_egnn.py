"""The equivariant network: what turns, mirrors, permutes and moves the points does so to the output."""

import pytest
import torch

from mmdiff.nn.point_egnn import PointEGNN
from tests.nn.network_contract import CHANNELS, COND_DIM, NetworkContract, draw, first

MASK = first([13, 9, 5], 13)


class TestPointEGNN(NetworkContract):
    def make(self, **options):
        return PointEGNN(CHANNELS, COND_DIM, **{"dim": 32, "depth": 2, "heads": 2, "pair": 16, **options})


@pytest.fixture(scope="module")
def awake():
    network, (x, level, cond) = TestPointEGNN().awake().double(), draw(dtype=torch.float64)
    return network, x, level, cond


def turned(x, matrix):
    return torch.cat([matrix @ x[:, :3], x[:, 3:]], 1)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("mask", [None, MASK])
def test_turning_or_mirroring_the_points_does_the_same_to_the_output(awake, mask, mirrored):
    network, x, level, cond = awake
    matrix = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    if (torch.linalg.det(matrix) < 0) != mirrored:
        matrix = -matrix
    out = network(x, level, cond, mask)
    torch.testing.assert_close(network(turned(x, matrix), level, cond, mask), turned(out, matrix))
    assert out[:, :3].abs().amax() > 0.1


def test_permuting_the_points_permutes_the_output_with_levels_of_their_own(awake):
    network, x, level, cond = awake
    order, levels = torch.randperm(13), level[:, None] * torch.linspace(0, 1, 13, dtype=torch.float64)
    out = network(x, levels, cond)
    torch.testing.assert_close(network(x[..., order], levels[:, order], cond), out[..., order])
    assert (out - network(x, level, cond)).abs().max() > 1e-3


def test_moving_the_points_adds_one_vector_to_all_of_the_output(awake):
    network, x, level, cond = awake
    step = torch.tensor([3.0, -2.0, 1.0], dtype=torch.float64)
    moved = torch.cat([x[:, :3] + step[:, None], x[:, 3:]], 1)
    change = network(moved, level, cond, MASK) - network(x, level, cond, MASK)
    share = change[:, :3, :1] / step[:, None]                         # the same on every axis and for every point
    torch.testing.assert_close(change[:, :3], (share * step[:, None]).expand(-1, 3, 13) * MASK)
    torch.testing.assert_close(share, share[:, :1].expand_as(share))
    torch.testing.assert_close(change[:, 3:], torch.zeros_like(change[:, 3:]))


def test_any_two_sets_of_different_distances_are_told_apart_though_each_point_is_alike():
    network, (_, level, cond) = TestPointEGNN().awake(), draw(1, 4)
    square = torch.tensor([[1.0, 1, 0], [1, -1, 0], [-1, -1, 0], [-1, 1, 0]]).T
    tetrahedron = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).T
    features = torch.ones(CHANNELS - 3, 4)
    a, b = (network(torch.cat([x, features])[None], level[:1], cond)[0, 3:] for x in (square, tetrahedron))
    assert (a - a[:, :1]).abs().max() < 1e-4
    assert (a - b).abs().max() > 1e-3


def test_what_has_no_feature_beside_its_place_is_refused():
    with pytest.raises(ValueError, match="4 channels at least"):
        PointEGNN(3, 0)
