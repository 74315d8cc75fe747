"""A small PointNet: invariances of the network, and what training sees of clouds."""

import torch

from mmdiff.adapters.points.pointnet import FEATURES, PointFeatures, augmented


def test_the_order_of_points_and_their_repetition_change_nothing():
    torch.manual_seed(0)
    model, x = PointFeatures().eval(), torch.randn(3, 3, 50)
    shuffled, repeated = x[..., torch.randperm(50)], x.repeat(1, 1, 3)
    for other in (shuffled, repeated):
        torch.testing.assert_close(model.features(other), model.features(x))
    assert model.features(x).shape == (3, FEATURES)


def test_a_cloud_is_known_by_the_few_points_that_reach_a_maximum():
    torch.manual_seed(0)
    model, x = PointFeatures().eval(), torch.randn(1, 3, 400)
    critical = model.points(x[0].T).argmax(0).unique()
    assert len(critical) < 200
    torch.testing.assert_close(model.features(x[..., critical]), model.features(x))


def test_augmentation_draws_points_without_repetition_and_moves_them_little():
    x = torch.randn(4, 3, 128, generator=torch.Generator().manual_seed(0))
    x = x / x.abs().amax((1, 2), keepdim=True)
    generator = torch.Generator().manual_seed(0)
    still = augmented(x, generator, points=64, jitter=0, scale=0)
    for cloud, source in zip(still, x, strict=True):
        assert len(torch.unique(cloud, dim=1).T) == 64
        assert (cloud.T[:, None] == source.T).all(2).any(1).all()
    moved = augmented(x, generator, points=64, jitter=0, scale=0.1)
    assert moved.shape == (4, 3, 64) and moved.abs().max() < 1.1
