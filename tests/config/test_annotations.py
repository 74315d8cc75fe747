"""A value is what its annotation says, or is refused in words."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge
from torch import nn

from mmdiff.config.kinds import KindError, annotations, check, roles, takes_text, words

RIGHT = [
    (int, 3), (float, 3), (float, math.inf), (bool, False), (str, ""), (Path, "a"), (tuple[float, float], [1, 2.5]),
    (Sequence[int], [1, 2]), (float | dict, {"a": [1]}), (Literal["a", "b"], "a"), (int | None, None), (Any, object),
    (Mapping[str, Sequence[str]], {"a": ["b"]}), (Annotated[int, Ge(1)], 1), (nn.Module | None, None),
]
WRONG = [
    (int, 2.0), (int, True), (int, "3"), (int, None), (int, [1]), (int, {}), (float, True), (float, "fast"),
    (float, math.nan), (bool, "no"), (bool, 1), (bool, None), (str, 1), (str, None), (str, ["a"]), (Path, 5),
    (tuple[float, float], [1]), (tuple[float, float], [1, "b"]), (Sequence[int], "ab"), (Sequence[str], "ab"),
    (Sequence[int], [1.5]), (float | dict, "half"), (float | dict, True), (Literal["a", "b"], "c"), (int | None, "x"),
    (Mapping[str, Sequence[str]], {"a": "b"}), (Annotated[int, Ge(1)], 0), (nn.Module | None, "x"), (nn.Module, 1),
]


@pytest.mark.parametrize(("annotation", "value"), RIGHT, ids=str)
def test_a_value_of_the_right_kind_passes(annotation, value):
    assert check(value if annotation is not Any else 1, annotation, key="k") is None


@pytest.mark.parametrize(("annotation", "value"), WRONG, ids=str)
def test_a_value_of_the_wrong_kind_is_refused_by_key(annotation, value):
    with pytest.raises(KindError, match="^some.key is .*, got "):
        check(value, annotation, key="some.key")


@pytest.mark.parametrize(("annotation", "text"), [
    (int, "a whole number"), (int | None, "a whole number, or null"), (tuple[float, float], "[a number, a number]"),
    (Annotated[int, Ge(1)], "a whole number, at least 1"), (Literal["a", "b"], "one of a, b"),
    (Sequence[str], "a list of which each is a text"), (str | Path, "a text, or a path"), (bool, "true or false"),
], ids=str)
def test_a_kind_is_told_in_words(annotation, text):
    assert words(annotation) == text


def test_what_is_meant_as_it_stands():
    assert all(map(takes_text, (str, Path, str | Path, str | None)))
    assert not any(map(takes_text, (int, str | int, Any, Literal["a"], None, Sequence[str])))


def test_roles_are_the_classes_of_objects():
    assert roles(nn.Module | None) == roles(Sequence[nn.Module]) == roles(str | nn.Module) == (nn.Module,)
    assert roles(int | str | None) == roles(Sequence[str]) == roles(Path) == roles(Any) == ()


def test_annotations_of_a_constructor_are_read_where_they_can_be():
    class Part:
        def __init__(self, a: int, b: "Missing" = None, *, c=1, **rest: int):  # noqa: F821
            pass

    assert annotations(Part) == {"a": int, "b": Any, "c": Any}
