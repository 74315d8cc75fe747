"""The diagonal of a grid meets every member of every axis, and what it leaves is left for ``-m slow``."""

import itertools

import pytest

from tests.grid import diagonal


@pytest.mark.parametrize("axes", [
    {"a": [1, 2, 3]}, {"a": [1, 2], "b": ["x", "y", "z"]}, {"a": range(11), "b": range(6), "c": range(5)},
])
def test_the_diagonal_meets_every_member_and_slow_has_the_rest(axes):
    cases = diagonal(**axes).args[1]
    assert [case.values for case in cases] == list(itertools.product(*axes.values()))
    always = [case.values for case in cases if not case.marks]
    assert len(always) == max(map(len, axes.values()))
    for i, values in enumerate(axes.values()):
        assert {case[i] for case in always} == set(values)
    assert {mark.name for case in cases for mark in case.marks} <= {"slow"}
