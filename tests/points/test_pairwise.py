"""Distances between clouds: metric laws, closed forms and brute force."""

from itertools import permutations

import numpy as np
import pytest

from mmdiff.adapters.points.pairwise import chamfer_matrix, earth_movers_matrix, sliced_wasserstein_matrix

MATRICES = [
    chamfer_matrix, sliced_wasserstein_matrix, lambda a, b=None, **k: earth_movers_matrix(a, b, points=a.shape[1], **k)
]


def clouds(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def white(n=400, seed=0):
    """A cloud ``(1, n, 3)`` of mean 0 and covariance 1, exactly."""
    x = clouds(n, 3, seed=seed)
    return np.linalg.qr(x - x.mean(0)).Q[None] * n**0.5


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_cloud_is_at_zero_from_itself_in_any_order_of_its_points_and_from_no_other(matrix):
    a = clouds(4, 40, 3)
    shuffled = a[:, np.random.default_rng(1).permutation(40)]
    assert np.diag(matrix(a, shuffled)) == pytest.approx(0, abs=1e-6)
    assert (matrix(a) + np.eye(4) > 0.01).all()


@pytest.mark.parametrize("matrix", MATRICES)
def test_distances_are_symmetric_and_those_of_one_set_are_those_of_two(matrix):
    a, b = clouds(4, 30, 3), clouds(5, 30, 3, seed=1)
    np.testing.assert_allclose(matrix(a, b), matrix(b, a).T, atol=1e-12)
    np.testing.assert_allclose(matrix(a), matrix(a, a.copy()), atol=1e-7)
    np.testing.assert_allclose(matrix(a, b)[2:3, 3:4], matrix(a[2:3], b[3:4]), atol=1e-12)


def test_chamfer_is_the_sum_of_both_means_of_squares_also_for_unequal_counts():
    a, b = clouds(2, 7, 3), clouds(3, 11, 3, seed=1)
    square = np.square(a[:, None, :, None] - b[None, :, None]).sum(-1)   # (2, 3, 7, 11)
    np.testing.assert_allclose(chamfer_matrix(a, b), square.min(3).mean(2) + square.min(2).mean(2))
    np.testing.assert_allclose(chamfer_matrix(a, b, workers=2), chamfer_matrix(a, b))


def test_sliced_wasserstein_of_a_scaled_and_moved_cloud_is_the_closed_form_of_gaussians():
    a, move = white(), np.array([0.3, -0.2, 0.5])
    found = sliced_wasserstein_matrix(a, 1.7 * a + move, frames=4)
    assert found.item() ** 2 == pytest.approx(0.7**2 + (move @ move) / 3, rel=1e-9)


def test_sliced_wasserstein_of_gaussians_tends_to_the_closed_form():
    a, b = clouds(1, 20000, 3), 2 * clouds(1, 20000, 3, seed=1) + 1
    assert sliced_wasserstein_matrix(a, b, frames=4).item() == pytest.approx(2**0.5, rel=0.02)


def test_sliced_wasserstein_on_a_line_is_that_of_sorted_values():
    a, b = clouds(1, 50, 1), clouds(1, 50, 1, seed=1)
    closed = np.square(np.sort(a[0, :, 0]) - np.sort(b[0, :, 0])).mean() ** 0.5
    assert sliced_wasserstein_matrix(a, b).item() == pytest.approx(closed)


def test_earth_movers_is_the_best_of_all_permutations():
    a, b = clouds(3, 6, 3), clouds(2, 6, 3, seed=1)
    best = [
        [min(np.linalg.norm(x - y[list(p)], axis=1).mean() for p in permutations(range(6))) for y in b] for x in a
    ]
    np.testing.assert_allclose(earth_movers_matrix(a, b, points=6), best)


def test_earth_movers_of_a_moved_cloud_is_the_length_of_the_move():
    a = clouds(1, 60, 3)
    moved = a + np.array([0.3, 0, 0.4])
    assert earth_movers_matrix(a, moved, points=32).item() == pytest.approx(0.5)


@pytest.mark.parametrize("matrix", [chamfer_matrix, sliced_wasserstein_matrix])
def test_distances_turn_with_both_clouds_and_scale_with_their_unit(matrix):
    a, b = clouds(1, 50, 3), clouds(1, 50, 3, seed=1)
    turn = np.linalg.qr(clouds(3, 3, seed=2)).Q
    loose = 0.05 if matrix is sliced_wasserstein_matrix else 1e-9
    power = 1 if matrix is sliced_wasserstein_matrix else 2
    assert matrix(a @ turn, b @ turn).item() == pytest.approx(matrix(a, b).item(), rel=loose)
    assert matrix(3 * a, 3 * b).item() == pytest.approx(3**power * matrix(a, b).item())


def test_what_cannot_be_compared_is_named():
    a = clouds(2, 8, 3)
    with pytest.raises(ValueError, match=r"got \(2, 8, 3\) and \(2, 9, 3\): draw as many points"):
        sliced_wasserstein_matrix(a, clouds(2, 9, 3))
    with pytest.raises(ValueError, match=r"\(m, M, D\), got \(2, 8, 3\) and \(2, 8, 2\)"):
        chamfer_matrix(a, a[..., :2])
    with pytest.raises(ValueError, match="EMD-512 needs 512 points a cloud, got 8"):
        earth_movers_matrix(a)
    with pytest.raises(ValueError, match="NaN"):
        chamfer_matrix(a, np.where(a > 1, np.nan, a))
