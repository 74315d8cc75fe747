"""Distances between sets of features: closed forms and invariances."""

import numpy as np
import pytest
import torch

from mmdiff.metrics.frechet import frechet_distance
from mmdiff.metrics.kernel import kernel_distance


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact(n, mean, covariance, seed=0):
    """``(n, D)`` whose sample mean and unbiased covariance are exactly those given."""
    x = normal(n, len(mean), seed=seed)
    white = torch.linalg.qr(x - x.mean(0)).Q * (n - 1) ** 0.5
    return white @ torch.linalg.cholesky(covariance).T + mean


def rotation(size, seed=0):
    return torch.linalg.qr(normal(size, size, seed=seed)).Q


def test_frechet_of_commuting_gaussians_is_the_closed_form():
    turn, a, b = rotation(16), torch.linspace(0.1, 3, 16).double(), torch.linspace(2, 0.2, 16).double()
    m_a, m_b = normal(16, seed=1), normal(16, seed=2)
    x, y = exact(50, m_a, turn @ a.diag() @ turn.T), exact(70, m_b, turn @ b.diag() @ turn.T, seed=3)
    closed = (m_a - m_b).square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    assert frechet_distance(x, y) == pytest.approx(closed.item(), abs=1e-6)


def test_frechet_in_two_dimensions_is_the_closed_form_where_covariances_do_not_commute():
    a, b = torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double(), torch.tensor([[0.7, -0.6], [-0.6, 3.0]]).double()
    m_a, m_b = torch.tensor([1.0, -2.0]).double(), torch.tensor([0.5, 4.0]).double()
    trace = (torch.trace(a @ b) + 2 * (torch.linalg.det(a) * torch.linalg.det(b)).sqrt()).sqrt()
    closed = (m_a - m_b).square().sum() + torch.trace(a) + torch.trace(b) - 2 * trace
    found = frechet_distance(exact(30, m_a, a), exact(40, m_b, b, seed=1))
    assert found == pytest.approx(closed.item(), abs=1e-6)


@pytest.mark.parametrize("n", [5, 40, 300])
def test_frechet_is_zero_of_itself_symmetric_and_blind_to_rotation_with_few_samples_and_many(n):
    x, y, turn = normal(n, 40), 2 * normal(n + 3, 40, seed=1) + 1, rotation(40)
    assert frechet_distance(x, x) < 1e-9
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-9)
    assert frechet_distance(x @ turn + 5, y @ turn + 5) == pytest.approx(frechet_distance(x, y), rel=1e-9)
    assert frechet_distance(3 * x, 3 * y) == pytest.approx(9 * frechet_distance(x, y), rel=1e-9)


def test_frechet_of_a_shifted_set_is_the_square_of_the_shift():
    x = normal(20, 64)
    assert frechet_distance(x, x + 0.25) == pytest.approx(64 * 0.25**2, abs=1e-9)


def test_frechet_does_not_see_where_a_set_is_repeated_but_for_the_unbiased_denominator():
    x, y = normal(100, 8), normal(90, 8, seed=1)
    assert frechet_distance(x.repeat(50, 1), y.repeat(50, 1)) == pytest.approx(frechet_distance(x, y), rel=0.02)


def test_kernel_distance_is_the_sum_over_pairs():
    x, y = normal(7, 5), normal(9, 5, seed=1)

    def k(a, b):
        return (float(a @ b) / 5 + 1) ** 3

    within_x = np.mean([k(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
    within_y = np.mean([k(y[i], y[j]) for i in range(9) for j in range(9) if i != j])
    across = np.mean([k(a, b) for a in x for b in y])
    assert kernel_distance(x, y) == pytest.approx(within_x + within_y - 2 * across, abs=1e-10)


def test_kernel_distance_of_degree_one_is_the_squared_distance_of_means():
    shift = torch.full((6,), 0.5).double()
    values = [kernel_distance(normal(30, 6, seed=i), normal(30, 6, seed=99 + i) + shift, degree=1) for i in range(200)]
    assert np.mean(values) == pytest.approx(0.25, abs=4 * np.std(values) / 200**0.5)


@pytest.mark.parametrize("n", [8, 40])
def test_kernel_distance_averages_zero_between_samples_of_one_distribution(n):
    values = [kernel_distance(normal(n, 4, seed=i), normal(n, 4, seed=1000 + i)) for i in range(300)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 300**0.5
    assert min(values) < 0


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_distances_grow_with_a_corruption_and_refuse_what_they_cannot_compare(distance):
    x, y = normal(200, 10), normal(200, 10, seed=1)
    values = [distance(x, y + 0.3 * k + k * normal(200, 10, seed=2)) for k in (0, 1, 2)]
    assert values == sorted(values)
    with pytest.raises(ValueError, match=r"one D, got \(200, 10\) and \(200, 9\)"):
        distance(x, y[:, :9])
    with pytest.raises(ValueError, match="2 samples"):
        distance(x, y[:1])
    with pytest.raises(ValueError, match="second set of features holds NaN"):
        distance(x, y / 0)
