"""A small PointNet: invariances of the network, and shapes that it must tell apart."""

import pytest
import torch

from mmdiff.evaluation.pointnet import FEATURES, PointNet, augmented, judge, train


def solids(n, *, points=128, seed=0):
    """Balls, discs and rods as clouds ``(n, 3, points)`` with their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    x = normalised(torch.randn(n, 3, points, generator=generator))
    stretch = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.1, 1.0], [1.0, 0.1, 0.1]])[labels]
    return x * stretch[..., None], labels


def normalised(x):
    return x / x.abs().amax((1, 2), keepdim=True)


def test_the_order_of_points_and_their_repetition_change_nothing():
    torch.manual_seed(0)
    model, x = PointNet(4).eval(), torch.randn(3, 3, 50)
    shuffled, repeated = x[..., torch.randperm(50)], x.repeat(1, 1, 3)
    for other in (shuffled, repeated):
        torch.testing.assert_close(model(other), model(x))
    assert model.features(x).shape == (3, FEATURES)


def test_a_cloud_is_known_by_the_few_points_that_reach_a_maximum():
    torch.manual_seed(0)
    model, x = PointNet(4).eval(), torch.randn(1, 3, 400)
    critical = model.points(x[0].T).argmax(0).unique()
    assert len(critical) < 200
    torch.testing.assert_close(model(x[..., critical]), model(x))


def test_clouds_are_judged_alone_whatever_the_batch():
    torch.manual_seed(0)
    model, (x, _) = PointNet(4).eval(), solids(7)
    for one, many in zip(judge(model, x, batch=2), judge(model, x, batch=7), strict=True):
        torch.testing.assert_close(one, many)
    assert judge(model, x)[1].sum(1) == pytest.approx(1)


def test_augmentation_draws_points_without_repetition_and_moves_them_little():
    x, _ = solids(4)
    generator = torch.Generator().manual_seed(0)
    still = augmented(x, generator, points=64, jitter=0, scale=0)
    for cloud, source in zip(still, x, strict=True):
        assert len(torch.unique(cloud, dim=1).T) == 64
        assert (cloud.T[:, None] == source.T).all(2).any(1).all()
    moved = augmented(x, generator, points=64, jitter=0, scale=0.1)
    assert moved.shape == (4, 3, 64) and moved.abs().max() < 1.1


def test_solids_are_told_apart_after_a_second_of_training_and_training_repeats():
    clouds, labels = solids(96)
    state = torch.random.get_rng_state()
    first, again = (train(clouds, labels, steps=40, points=64) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    held_out, true = solids(60, seed=1)
    _, probabilities = judge(first, held_out)
    assert (probabilities.argmax(1) == true).double().mean() > 0.95


def test_sizes_that_do_not_match_are_named():
    with pytest.raises(ValueError, match=r"n >= batch = 32, got \(9, 3, 128\) and \(9,\)"):
        train(*solids(9))
