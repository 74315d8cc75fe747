import pytest
import torch

from mmdiff.nn.embeddings import Embedding, LevelFeatures, angles, turn


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("offset", [1, 17, -300])
def test_shifting_all_positions_leaves_the_products_of_queries_and_keys_unchanged(offset):
    q, k, positions = rand(9, 16), rand(9, 16, seed=1), torch.arange(9, dtype=torch.float64)
    here, there = angles(positions, 16), angles(positions + offset, 16)
    products = turn(q, here) @ turn(k, here).mT
    torch.testing.assert_close(turn(q, there) @ turn(k, there).mT, products, atol=1e-10, rtol=0)
    assert (products - q @ k.mT).abs().max() > 0.1


def test_turning_keeps_lengths_and_position_zero():
    x = rand(2, 3, 9, 16)
    turned = turn(x, angles(torch.arange(9.0), 16).double())
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turned[..., 0, :], x[..., 0, :])


def test_axial_positions_are_relative_on_every_axis():
    grid = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in (2, 3, 4)), indexing="ij"), -1)
    grid = grid.reshape(-1, 3).double()

    def axial(p):
        return torch.cat([angles(p[:, axis], dim) for axis, dim in enumerate((8, 12, 12))], -1)

    q, k, moved = rand(24, 32), rand(24, 32, seed=1), axial(grid + torch.tensor([5, -7, 11]))
    expected = turn(q, axial(grid)) @ turn(k, axial(grid)).mT
    torch.testing.assert_close(turn(q, moved) @ turn(k, moved).mT, expected, atol=1e-10, rtol=0)


def test_nearby_levels_have_nearby_features_and_no_two_levels_share_them():
    levels = torch.linspace(0, 1, 401)
    features = LevelFeatures(64)(levels)
    assert features.abs().max() <= 1
    distance = torch.cdist(features, features).fill_diagonal_(torch.inf)
    assert distance.min() > 0.1
    assert (features[1:] - features[:-1]).norm(dim=-1).max() < features.shape[1] ** 0.5


def test_features_of_a_bfloat16_level_are_those_of_its_float32_value():
    level, features = torch.tensor([0.37]).bfloat16(), LevelFeatures(32)
    torch.testing.assert_close(features(level), features(level.float()).bfloat16(), atol=1e-2, rtol=0)


def test_what_the_embedding_cannot_use_is_refused():
    embedding = Embedding(8, 4)
    assert embedding(torch.rand(3), torch.rand(3, 4)).shape == (3, 8)
    assert Embedding(8, 0)(torch.rand(3)).shape == (3, 8)
    with pytest.raises(ValueError, match="conditioner.dim"):
        embedding(torch.rand(3), torch.rand(3, 5))
    with pytest.raises(ValueError, match="one noise level a sample"):
        embedding(torch.rand(3, 7))
    with pytest.raises(ValueError, match="even"):
        angles(torch.arange(3), 5)
