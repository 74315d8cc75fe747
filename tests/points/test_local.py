"""What lies among neighbours: closed forms on planes and in space, and the faults that whole clouds hide."""

import numpy as np
import pytest

from mmdiff.adapters.points.local import local_scores, local_statistics


def plane(n=4, points=2000, seed=0):
    """Random points of a square."""
    x = np.random.default_rng(seed).uniform(-1, 1, (n, points, 3))
    return x * [1, 1, 0]


def turned(clouds):
    return 3 * clouds @ np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3))).Q + 7


def test_spacing_of_random_points_on_a_plane_is_that_of_a_poisson_process():
    assert local_statistics(plane()).spacing == pytest.approx((4 / np.pi - 1) ** 0.5, abs=0.04)


def test_spacing_of_a_lattice_is_zero_and_of_a_cloud_of_one_repeated_point_the_most_there_is():
    side = np.linspace(-1, 1, 20)
    lattice = np.stack(np.meshgrid(side, side, [0.0]), -1).reshape(1, -1, 3)
    assert local_statistics(lattice).spacing == pytest.approx(0, abs=1e-9)
    same = local_statistics(np.ones((1, 101, 3)))
    assert same.spacing == pytest.approx(10)
    assert same.variation == 0


def test_variation_is_zero_on_a_plane_and_tends_to_a_third_in_space():
    assert local_statistics(plane()).variation == pytest.approx(0, abs=1e-12)
    blob = np.random.default_rng(0).normal(size=(1, 2000, 3))
    few, many = (local_statistics(blob, k=k).variation.item() for k in (16, 400))
    assert few < many < 1 / 3
    assert many == pytest.approx(1 / 3, abs=0.1)


def test_both_are_free_of_order_size_place_and_turn():
    x = plane() + 0.05 * np.random.default_rng(1).normal(size=(4, 2000, 3))
    for a, b in zip(local_statistics(x), local_statistics(turned(x)[:, ::-1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_fuzz_moves_variation_and_repeated_points_move_spacing():
    reference, oracle = local_statistics(plane(12, 500)), local_statistics(plane(12, 500, seed=1))
    fuzzy = plane(12, 500, seed=1) + 0.05 * np.random.default_rng(2).normal(size=(12, 500, 3))
    repeated = plane(12, 125, seed=1)[:, np.random.default_rng(3).integers(125, size=500)]
    scores = {
        name: local_scores(found, reference)
        for name, found in {
            "oracle": oracle, "fuzzy": local_statistics(fuzzy), "repeated": local_statistics(repeated)
        }.items()
    }
    assert scores["fuzzy"]["variation"].low > 10 * scores["oracle"]["variation"].high
    assert scores["repeated"]["spacing"].low > 10 * scores["oracle"]["spacing"].high


def test_a_score_is_the_mean_shift_where_one_set_is_the_other_moved():
    a = local_statistics(plane(8, 200))
    moved = a._replace(spacing=a.spacing + 0.25)
    assert local_scores(moved, a)["spacing"].value == pytest.approx(0.25)
    assert local_scores(a, a)["variation"].value == 0


def test_too_few_points_are_named():
    with pytest.raises(ValueError, match=r"N >= k >= 2, got \(2, 9, 3\) and k = 16: draw more points"):
        local_statistics(np.zeros((2, 9, 3)))
