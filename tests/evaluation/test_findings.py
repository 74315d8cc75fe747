"""What is concluded from rows: blindness, the worst group, and differences between protocols."""

import pytest

from mmdiff.adapters.video.judge import VideoJudge
from mmdiff.evaluation.protocol import Protocol, differences, digest
from mmdiff.evaluation.report.findings import apart, chance, disobeyed, gaps, sensitivity
from mmdiff.metrics.bootstrap import Interval


def around(value, half=0.1):
    return Interval(value, value - half, value + half)


def test_two_numbers_are_apart_beyond_the_root_of_their_squared_half_widths():
    assert apart(around(0), around(0.142)) and not apart(around(0), around(0.141))
    assert apart(around(0.142), around(0)), "in either order"
    assert not apart(Interval(0, -9, 1), Interval(1.2, 0.4, 9)), "only the halves that face each other count"
    assert apart(Interval(0, -9, 0.1), Interval(1.2, 1.1, 9))


def test_sensitivity_names_who_is_blind_to_what():
    real = {"n": 9, "FD": around(1), "speed": around(1)}
    rows = {"real": real, "control: noise": {"FD": around(5), "speed": around(1)}}
    assert sensitivity(rows, "real") == {"FD": {"control: noise": True}, "speed": {"control: noise": False}}


def test_a_metric_that_is_blind_to_wrong_classes_is_named_where_they_are_wrong():
    better = {"digit right": 1, "coverage": 1, "precision": 1, "FD": -1, "diversity": 0}
    real = {"n": 9, "digit right": around(0.95, 0.03), "coverage": around(0.95, 0.03), "precision": around(0.98, 0.02),
            "FD": around(1), "diversity": around(3)}
    bad = {**real, "digit right": around(0.08, 0.04), "coverage": around(0.98, 0.02), "FD": around(5)}
    (told,) = disobeyed({"model": bad}, real, better)
    assert "digit right is 8% in model, 95% in real samples; coverage, precision look at no label" in told
    assert disobeyed({"model": {**real, "digit right": around(0.85, 0.03)}}, real, better) == [], "less, but obeyed"
    unsure = {**real, "digit right": around(0.4, 0.6)}
    assert disobeyed({"model": unsure}, real, better) == [], "too few samples to say so"


@pytest.mark.parametrize(("better", "worst"), [(1, "b"), (-1, "a"), (0, "c")])
def test_the_worst_group_is_furthest_behind_its_own_real_samples(better, worst):
    model = {"x": {"a": {"m": around(1.2)}, "b": {"m": around(0.6)}, "c": {"m": around(1.5)}}}
    real = {"x": {"a": {"m": around(0.9)}, "b": {"m": around(0.8)}, "c": {"m": around(2.0 if better == 0 else 1.5)}}}
    (found,) = gaps(model, real, lambda metric: better)
    assert found["worst"] == worst and found["metric"] == "m" and found["by"] == "x"
    if better == 1:
        assert found["gap"].value == pytest.approx(0.2 + 0.3), "0.2 behind against 0.3 ahead"
        assert found["gap"].high - found["gap"].value == pytest.approx(0.2), "four half widths of 0.1 in quadrature"


def test_a_metric_in_which_all_groups_are_served_alike_has_no_worst():
    rows = {"x": {"a": {"m": around(1)}, "b": {"m": around(1)}}}
    assert gaps(rows, rows, lambda metric: 1) == []


def test_chance_of_two_groups_is_the_plain_interval_and_grows_with_more():
    assert chance(2) == pytest.approx(1, abs=1e-3)
    assert chance(2) < chance(6) < chance(10)


def test_a_protocol_is_told_apart_by_any_of_its_settings_and_the_difference_is_named():
    base = Protocol("v", VideoJudge(), n=20).facts(sampler={"steps": 5})
    for other in (
        Protocol("v", VideoJudge(), n=21).facts(sampler={"steps": 5}),
        Protocol("v", VideoJudge(), n=20).facts(sampler={"steps": 6}),
        Protocol("v", VideoJudge(background=0.0), n=20).facts(sampler={"steps": 5}),
    ):
        assert digest(other) != digest(base) and len(differences(base, other)) == 1
    assert differences(base, Protocol("v", VideoJudge(), n=20).facts(sampler={"steps": 6})) == ["sampler.steps: 5, 6"]
    assert digest(base) == digest(Protocol("v", VideoJudge(), n=20).facts(sampler={"steps": 5}))


@pytest.mark.parametrize("wrong", [{"n": 3}, {"seeds": []}, {"draws": 1}, {"predict": -1}, {"captions": -1}])
def test_impossible_protocols_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).removesuffix("s")):
        Protocol("v", VideoJudge(), **wrong)
