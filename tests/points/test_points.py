"""The protocol points-v1: same draws, same normaliser, and controls that at least one score sees."""

import numpy as np
import pytest

from mmdiff.adapters.points.scores import ORACLE, controls, cube, drawn, evaluate, normalizing, table
from tests.conftest import shared_data


def boxes(n, *, points=300, seed=0):
    """Random points on boxes of random proportions, of two classes: flat and long."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    side = np.where(labels[:, None] == 0, [1, 1, 0.15], [1, 0.3, 0.3]) * rng.uniform(0.6, 1, (n, 3))
    x = rng.uniform(-1, 1, (n, points, 3))
    axis = rng.integers(3, size=(n, points, 1))
    np.put_along_axis(x, axis, np.sign(np.take_along_axis(x, axis, 2)), 2)
    return x * side[:, None], labels


@pytest.fixture(scope="module")
def report():
    (reference, _), (train, labels) = boxes(40), boxes(60, seed=1)
    good, _ = boxes(50, seed=2)
    return evaluate({"model": good}, reference, train=train, labels=labels, points=200, draws=60)


def test_every_set_gives_as_many_clouds_and_points_and_the_report_says_so(report):
    assert {row["n"] for row in report["rows"].values()} == {40}
    assert list(report["rows"])[:2] == [ORACLE, "model"]
    protocol = report["protocol"]
    assert (protocol["version"], protocol["n"], protocol["points"], protocol["seed"]) == ("points-v1", 40, 200, 0)
    assert protocol["normalizer"] == "cube" and protocol["distances"] == ["CD", "SWD"]


def test_a_model_as_good_as_the_training_set_scores_as_the_oracle(report):
    oracle, model = report["rows"][ORACLE], report["rows"]["model"]
    for name in ("MMD-CD", "COV-CD", "1-NNA-CD", "1-NNA-SWD", "JSD"):
        assert model[name].low <= oracle[name].high and oracle[name].low <= model[name].high, name
    for row in (oracle, model):
        assert row["1-NNA-CD"].low <= 0.5 <= row["1-NNA-CD"].high


SEEN_BY = {
    "one class only": "1-NNA-CD", "noise of 0.05": "variation", "a quarter of the points, repeated": "spacing",
    "Gaussian blobs": "1-NNA-CD",
}


@pytest.mark.parametrize("control", SEEN_BY)
def test_each_control_is_seen_by_a_score(report, control):
    wrong, oracle = report["rows"][control][SEEN_BY[control]], report["rows"][ORACLE][SEEN_BY[control]]
    assert wrong.low > oracle.high


def test_the_table_has_a_row_a_set(report):
    text = table(report)
    assert text.count("\n") == 1 + len(report["rows"]) == 7
    assert "1-NNA-CD |" in text and "(S)" not in text and "1-NNA(S)-CD" in report["rows"][ORACLE]


def test_reports_repeat_with_their_seed_and_change_with_it():
    x, y = boxes(12)[0], boxes(12, seed=1)[0]
    first, again, other = (evaluate({"a": y}, x, n=8, points=64, seed=seed, draws=8) for seed in (0, 0, 1))
    assert first == again
    assert first["protocol"]["reference_sha256"] != other["protocol"]["reference_sha256"]


def test_the_cube_forgets_size_and_place_and_the_other_normalisers_judge_them():
    x, y = boxes(12)[0], boxes(12, seed=1)[0]
    for name, forgets in (("cube", True), ("global", False), ("none", False)):
        here, there = (
            evaluate({"a": clouds}, x, points=64, normalizer=name, draws=8)["rows"]["a"]["MMD-CD"].value
            for clouds in (y, 2 * y + 3)
        )
        assert (here == pytest.approx(there)) is forgets, name
    units = normalizing("global", x)(x)
    assert units.mean((0, 1)) == pytest.approx(0, abs=1e-12) and units.std() == pytest.approx(1 / 3)


def test_the_cube_holds_each_cloud_and_touches_it():
    x = cube(boxes(5)[0] * 7 - 2)
    assert np.abs(x).max((1, 2)) == pytest.approx(1) and (x.max(1) + x.min(1)) == pytest.approx(0, abs=1e-12)
    assert (cube(np.ones((1, 9, 3))) == 0).all()


def test_draws_are_without_repetition_from_ragged_clouds():
    ragged = [np.arange(3 * k, dtype=float).reshape(k, 3) for k in range(10, 30)]
    clouds = drawn(ragged, 9, points=10, seed=3)
    assert clouds.shape == (9, 10, 3)
    assert all(len(np.unique(cloud, axis=0)) == 10 for cloud in clouds)


def test_one_class_only_is_of_the_largest_class_also_where_it_is_smaller_than_n():
    x = np.stack([np.full((20, 3), k, float) for k in range(6)])
    found = controls(x, 5, points=8, seed=0, labels=["a", "b", "b", "c", "b", "a"])["one class only"]
    assert set(found.ravel()) == {1.0, 2.0, 4.0}


def test_earth_movers_are_named_by_their_count():
    x, y = boxes(6)[0], boxes(6, seed=1)[0]
    report = evaluate({"a": y}, x, points=32, emd=True, draws=8)
    assert report["protocol"]["distances"] == ["CD", "SWD", "EMD-32"] and "COV-EMD-32" in report["rows"]["a"]


def test_what_cannot_be_scored_is_named():
    x, labels = boxes(8)
    with pytest.raises(ValueError, match="9 clouds are drawn from each set, one has 8: generate more, or lower n"):
        evaluate({"a": x}, x, n=9, points=64)
    with pytest.raises(ValueError, match=r"2048 points are drawn from each cloud .* one is \(300, 3\): lower points"):
        evaluate({"a": x}, x)
    with pytest.raises(ValueError, match="unknown normaliser 'box': it is one of cube, global, none"):
        evaluate({"a": x}, x, points=64, normalizer="box")
    with pytest.raises(ValueError, match="labels are those of train, one a cloud: got 8, and train of None"):
        evaluate({"a": x}, x, labels=labels, points=64)


@pytest.mark.slow
def test_fuzz_on_real_shapes_is_seen_by_local_statistics_and_by_no_distance_between_clouds():
    data = np.load(shared_data("3d", "ldraw6", "ldraw6_2048.npz"))
    clouds, test = data["points"].astype(float) / 32767, data["test"]
    rows = evaluate({}, clouds[test], train=clouds[~test], n=40, points=512, draws=60)["rows"]
    fuzzy, oracle, blob = rows["noise of 0.05"], rows[ORACLE], rows["Gaussian blobs"]
    for name in ("1-NNA-CD", "COV-CD", "COV-SWD"):
        assert fuzzy[name].low <= oracle[name].value <= fuzzy[name].high, name
        assert not blob[name].low <= oracle[name].value <= blob[name].high, name
    for name in ("spacing", "variation"):
        assert fuzzy[name].low > oracle[name].high, name
