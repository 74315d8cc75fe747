"""Grids of cases: a diagonal by default, the rest with ``-m slow``."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest


def name(value: Any) -> str:
    """What a member of an axis is called: a class by its name, a value by that of its class."""
    if isinstance(value, str | int):
        return str(value)
    return value.__name__ if isinstance(value, type) else type(value).__name__


def diagonal(**axes: Sequence[Any]) -> pytest.MarkDecorator:
    """Parametrize by every combination of the axes, named as the arguments of the test.

    Case i of the diagonal takes member ``i % length`` of every axis, up to the longest, so it meets every member.
    """
    lengths = [len(values) for values in axes.values()]
    always = {tuple(i % length for length in lengths) for i in range(max(lengths))}
    cases = [
        pytest.param(
            *(values[i] for values, i in zip(axes.values(), place, strict=True)),
            marks=() if place in always else pytest.mark.slow,
            id="-".join(name(values[i]) for values, i in zip(axes.values(), place, strict=True)),
        )
        for place in itertools.product(*map(range, lengths))
    ]
    return pytest.mark.parametrize(",".join(axes), cases)
