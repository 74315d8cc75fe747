"""x0 ~ N(a + b, 1) with a, b ~ N(0, 1) told by name: every denoiser is known in closed form."""

import pytest
import torch
from torch import nn

from mmdiff.core.denoiser import Denoiser
from mmdiff.core.guidance import ClassifierFree
from mmdiff.core.parameterizations import Data
from mmdiff.core.schedules import Linear
from mmdiff.core.several import Several
from mmdiff.core.types import Condition

ROWS = [{"a": 0.5, "b": -1.0}, {"a": 2.0, "b": 0.25}, {"a": -1.0, "b": 3.0}]
X, T = torch.randn(3, 1, 4), torch.tensor([0.25, 0.5, 0.75])


class Exact(nn.Module):
    """E[x0 | x_t] of N(mean, variance), which the condition tells; records how many samples each call has."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, x, level, cond, mask):
        self.batches.append(len(x))
        mean, variance = cond.vector[:, 0, None, None], cond.vector[:, 1, None, None]
        alpha, sigma = torch.cos(level * torch.pi / 2)[:, None, None], torch.sin(level * torch.pi / 2)[:, None, None]
        return mean + variance * alpha / (alpha**2 * variance + sigma**2) * (x - alpha * mean)


class Model:
    """What guidance knows of a model."""

    def __init__(self):
        self.denoiser, self.conditioner = Denoiser(Exact(), Linear(), Data()), self
        self.askable = self.fields = ["a", "b"]

    def check(self, labels):
        """All numbers can be told."""

    def condition(self, rows):
        rows = [{name: value for name, value in row.items() if value is not None} for row in rows]
        told = [[row.get("a", 0.0) + row.get("b", 0.0), 3.0 - len(row)] for row in rows]
        return Condition(vector=torch.tensor(told))

    def contrast(self, rows, away=None):
        return self.condition(away or [{}] * len(rows))

    def untold(self):
        return self.condition([{}] * len(ROWS))

    def guided(self, guidance, rows=ROWS, t=T, negative=()):
        return guidance.bind(rows, self, negative)(self.denoiser, self.condition(rows), null=self.untold())(X, t)

    def predicted(self, *names, rows=None):
        return self.denoiser(X, T, self.condition(rows or [{n: row[n] for n in names} for row in ROWS]))


@pytest.mark.parametrize("scales", [{"a": 2.0, "b": 0.5}, {"b": 4.0, "a": 1.5}, {"a": 1.0, "b": 3.0}])
def test_it_is_the_sum_of_scaled_differences_in_the_order_of_the_scales(scales):
    model, (first, second) = Model(), scales
    nothing, one, both = model.predicted(), model.predicted(first), model.predicted("a", "b")
    right = nothing + scales[first] * (one - nothing) + scales[second] * (both - one)
    assert torch.allclose(model.guided(Several(scales)), right, atol=1e-5)


def test_all_branches_are_one_call_and_what_cancels_is_not_computed():
    for scales, size in (({"a": 2.0, "b": 3.0}, 9), ({"a": 2.0, "b": 2.0}, 6), ({"a": 1.0, "b": 2.0}, 6)):
        model = Model()
        model.guided(Several(scales))
        assert model.denoiser.network.batches == [size]


def test_scale_one_for_all_fields_is_one_plain_call():
    model = Model()
    assert torch.equal(model.guided(Several({"a": 1.0, "b": 1.0})), model.predicted("a", "b"))
    assert model.denoiser.network.batches[0] == len(ROWS)


def test_scale_zero_is_not_told_also_within_the_difference_of_another_field():
    model, alone = Model(), [{"a": row["a"]} for row in ROWS]
    assert torch.equal(model.guided(Several({"a": 3.0, "b": 0.0})), model.guided(Several({"a": 3.0}), alone))
    assert torch.equal(model.guided(Several({"a": 0.0, "b": 0.0})), model.predicted())


def test_one_field_alone_is_classifier_free_guidance():
    model, rows = Model(), [{"a": row["a"]} for row in ROWS]
    assert torch.allclose(model.guided(Several({"a": 2.5}), rows), model.guided(ClassifierFree(2.5), rows), atol=1e-5)


def test_a_field_without_a_scale_is_told_throughout():
    model, both, other = Model(), Model().predicted("a", "b"), Model().predicted("b")
    assert torch.allclose(model.guided(Several({"a": 2.0})), other + 2 * (both - other), atol=1e-5)


def test_outside_the_interval_all_is_told_at_scale_one():
    model, guidance = Model(), Several({"a": 2.0, "b": 3.0}, interval=(0.4, 0.6))
    mixed, whole = model.guided(guidance), model.guided(Several({"a": 2.0, "b": 3.0}))
    assert torch.equal(mixed[1], whole[1])
    assert torch.equal(mixed[[0, 2]], model.predicted("a", "b")[[0, 2]])
    assert torch.equal(model.guided(guidance, t=torch.full((3,), 0.9)), model.denoiser(X, torch.full((3,), 0.9),
                                                                                    model.condition(ROWS)))


def test_a_negative_label_stands_where_its_field_is_not_told_yet():
    model, away = Model(), [{"b": 4.0}, {"b": -2.0}, {"b": 0.5}]
    first = [{"a": row["a"], **other} for row, other in zip(ROWS, away, strict=True)]
    nothing, one = (model.denoiser(X, T, model.condition(rows)) for rows in (away, first))
    right = nothing + 2 * (one - nothing) + 3 * (model.predicted("a", "b") - one)
    assert torch.allclose(model.guided(Several({"a": 2.0, "b": 3.0}), negative=away), right, atol=1e-5)
    with pytest.raises(ValueError, match="negative b is of no effect: give it a scale"):
        model.guided(Several({"a": 2.0}), negative=away)


@pytest.mark.parametrize(("scales", "acts"), [
    ({"a": 1.0, "b": 3.0}, False), ({"a": 0.0, "b": 3.0}, False), ({"a": 3.0, "b": 1.0}, True),
    ({"b": 3.0, "a": 1.0}, True), ({"a": 0.5, "b": 1.0}, True), ({"a": 1.0, "b": 1.0}, False),
])
def test_a_negative_label_acts_or_is_refused(scales, acts):
    model, guidance, away = Model(), Several(scales), [{"a": 4.0}] * 3
    if acts:
        assert not torch.equal(model.guided(guidance, negative=away), model.guided(guidance))
    else:
        with pytest.raises(ValueError, match="negative a is of no effect"):
            model.guided(guidance, negative=away)


def test_its_scale_is_one_only_where_nothing_contrasts():
    assert [Several(dict(enumerate(s))).scale for s in ((1.0, 0.5), (0.5, 3.0), (1.0, 1.0))] == [0.5, 3.0, 1.0]


def test_mistakes_are_named():
    for scale in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="0 or more"):
            Several({"a": scale})
    with pytest.raises(ValueError, match="no field or map 'colour'; it has a, b"):
        Model().guided(Several({"colour": 2.0}))
    with pytest.raises(ValueError, match="at least one field"):
        Several({})
    with pytest.raises(ValueError, match="0 or more"):
        Several({"a": -1.0})
