"""Scores of sets by their distances: known values, limits, and intervals that hold what they should."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from mmdiff.metrics.coverage import coverage, expected_coverage
from mmdiff.metrics.sets import (
    Distances,
    distance_scores,
    halves_interval,
    interval_around,
    jensen_shannon,
    matched_fraction,
    matching_distance,
    nearest_neighbour_accuracy,
    occupancy,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def distances(a, b):
    return Distances(cdist(a, b), cdist(a, a), cdist(b, b))


def test_1nna_of_two_halves_of_one_set_is_a_half_within_its_interval():
    inside = []
    for seed in range(40):
        x = normal(120, 4, seed=seed)
        scores = distance_scores(distances(x[:60], x[60:]), draws=60)
        inside += [scores[name].low <= 0.5 <= scores[name].high for name in ("1-NNA", "1-NNA(S)", "1-NNA(R)")]
    assert np.mean(inside) > 0.9


def test_intervals_are_as_wide_as_scores_move_from_one_draw_to_the_next():
    values, widths = {}, {}
    for seed in range(80):
        x = normal(100, 3, seed=seed)
        for name, found in distance_scores(distances(x[:50], x[50:]), draws=60).items():
            values.setdefault(name, []).append(found.value)
            widths.setdefault(name, []).append(found.high - found.low)
    for name in values:
        assert 0.85 < np.mean(widths[name]) / (3.92 * np.std(values[name])) < 1.6, name


def test_an_interval_from_halves_has_the_width_of_the_mean():
    x, y = normal(400), normal(400, seed=1)
    found = halves_interval(lambda s, r: 9 + x[s].mean() + y[r].mean(), 400, 400, draws=2000)
    assert found.high - found.low == pytest.approx(3.92 * (2 / 400) ** 0.5, rel=0.1)
    assert found.value == pytest.approx(9 + x.mean() + y.mean())


def test_1nna_of_sets_far_apart_is_one_of_copies_zero_and_of_the_same_twice_a_half():
    x = normal(30, 4)
    assert nearest_neighbour_accuracy(distances(x, x + 100)) == (1, 1, 1)
    assert nearest_neighbour_accuracy(distances(x + 1e-9, x)) == (0, 0, 0)
    twice = np.concatenate([x, x])
    assert nearest_neighbour_accuracy(distances(twice, twice)) == (0.5, 0.5, 0.5)


def test_1nna_of_a_collapsed_set_is_high_for_samples_and_low_for_no_reference():
    few = np.repeat(normal(3, 4), 20, 0) + 1e-3 * normal(60, 4, seed=1)
    told = nearest_neighbour_accuracy(distances(few, normal(60, 4, seed=2)))
    assert told.samples == 1
    assert told.all == pytest.approx((told.samples + told.references) / 2)


def test_cov_is_one_where_each_reference_is_met_and_its_reciprocal_count_where_all_are_near_one():
    x = normal(30, 4)
    assert matched_fraction(distances(x + 1e-9, x)) == 1
    assert matched_fraction(distances(x[:1] + 1e-3 * normal(30, 4, seed=1), x)) == pytest.approx(1 / 30)
    halves = [matched_fraction(distances(*np.split(normal(120, 4, seed=i), 2))) for i in range(20)]
    assert min(halves) > 0 and max(halves) < 0.8 and 0.5 < np.mean(halves) < 0.65


def test_mmd_is_zero_where_references_are_among_samples_and_grows_with_distance():
    x = normal(30, 4)
    assert matching_distance(distances(np.concatenate([x, x + 5]), x)) == 0
    values = [matching_distance(distances(normal(30, 4, seed=1) + move, x)) for move in (0, 1, 3)]
    assert values == sorted(values)


def test_jsd_is_zero_for_proportional_counts_one_bit_for_disjoint_ones_and_symmetric():
    p, q = np.array([1.0, 3, 0, 0]), np.array([0.0, 0, 5, 5])
    assert jensen_shannon(p, 7 * p) == pytest.approx(0, abs=1e-12)
    assert jensen_shannon(p, q) == pytest.approx(1)
    assert jensen_shannon(p, p + q) == pytest.approx(jensen_shannon(p + q, p))


def test_the_grid_counts_every_point_once_in_its_cell():
    corner = np.array([[[-1.0, -1, -1], [1, 1, 1], [0.99, 0.99, 0.99], [5, 5, 5]]])
    grid = occupancy(corner, resolution=4)
    assert grid.shape == (1, 64) and grid[0, 0] == 1 and grid[0, -1] == 3
    assert occupancy(normal(3, 50, 3)).sum(1).tolist() == [50] * 3


def test_intervals_stay_within_their_range_and_need_four_of_each():
    x = normal(8, 2)
    for name, found in distance_scores(distances(x, x + 50), draws=20).items():
        assert 0 <= found.low <= found.value <= found.high, name
        assert "MMD" in name or found.high <= 1
    with pytest.raises(ValueError, match="4 samples and 4 references at least, got 3 and 9"):
        halves_interval(lambda s, r: 0, 3, 9)


def features(*shape, seed=0):
    return torch.from_numpy(normal(*shape, seed=seed))


@pytest.mark.parametrize(("n", "m", "k", "dim"), [(60, 60, 5, 2), (60, 60, 3, 8), (100, 40, 5, 4)])
def test_density_of_one_distribution_is_one_and_coverage_the_known_value(n, m, k, dim):
    found = [coverage(features(n, dim, seed=2 * i), features(m, dim, seed=2 * i + 1), k=k) for i in range(200)]
    for name, expected in (("density", 1), ("coverage", expected_coverage(n, m, k=k))):
        values = [getattr(scores, name) for scores in found]
        assert np.mean(values) == pytest.approx(expected, abs=4 * np.std(values) / 200**0.5), name


def test_all_four_are_zero_of_sets_far_apart_and_one_at_least_of_a_set_with_itself():
    x = features(40, 5)
    assert coverage(x, x + 100) == (0, 0, 0, 0)
    assert coverage(x, x) == (1, 1, 1.2, 1)


def test_copies_of_one_reference_are_precise_and_reach_little():
    x = features(50, 5)
    found = coverage(x[:1].repeat(50, 1), x, k=5)
    assert found.precision == 1 and found.recall == 1 / 50 and found.coverage < 0.4


def test_precision_is_recall_the_other_way_and_one_outlier_widens_it_but_not_density():
    a, b = features(80, 3), features(70, 3, seed=1) + 1
    assert coverage(a, b).precision == coverage(b, a).recall
    outlier = torch.cat([b, torch.full((1, 3), 60.0).double()])
    far = torch.full((20, 3), 30.0).double() + features(20, 3)
    assert coverage(far, outlier).precision == 1
    assert coverage(far, outlier).density < 0.25


def test_sets_as_small_as_k_are_refused():
    with pytest.raises(ValueError, match="k = 5 needs sets of more than k, got 5 and 9"):
        coverage(features(5, 2), features(9, 2))


@pytest.mark.parametrize("draws", [39, 50, 200])
def test_intervals_of_95_percent_cover_95_percent_however_few_halves_they_are_from(draws):
    rng, n, inside = np.random.default_rng(0), 60, []
    for _ in range(2000):
        x, y = rng.normal(size=(2, n))
        halves = rng.random((2, draws, n)).argsort(2)[..., : n // 2]
        found = interval_around(x.mean() - y.mean(), x[halves[0]].mean(1) - y[halves[1]].mean(1), least=-np.inf)
        inside.append(found.low <= 0 <= found.high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


def test_an_interval_holds_its_value_however_skewed_the_halves_are():
    assert interval_around(1.0, [1.0] * 99 + [0.5], most=1) == (1, 1, 1)
    low, high = interval_around(0.4, [0.4] * 99 + [0.9])[1:]
    assert low <= 0.4 <= high
