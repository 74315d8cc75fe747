"""Of Gaussians whose denoisers are known in closed form, as in ``test_several``."""

import pytest
import torch

from mmdiff.core.composed import Composed
from mmdiff.core.guidance import ClassifierFree

from .test_several import ROWS, Model


def wish(scale, **told):
    return {"cond": told, "scale": scale}


def test_it_is_the_sum_of_scaled_differences_to_what_is_not_told():
    model = Model()
    nothing, both = model.predicted(), model.predicted("a", "b")
    other, third = (model.predicted(rows=[told] * len(ROWS)) for told in ({"a": 4.0}, {"b": -2.0}))
    right = nothing + 2 * (both - nothing) + 1.5 * (other - nothing) - 0.5 * (third - nothing)
    guidance = Composed(2.0, also=[wish(1.5, a=4.0), wish(-0.5, b=-2.0)])
    model.denoiser.network.batches.clear()
    assert torch.allclose(model.guided(guidance), right, atol=1e-5)
    assert model.denoiser.network.batches == [4 * len(ROWS)]                      # one call


def test_alone_it_is_classifier_free_guidance_and_so_is_one_wish_of_a_request_that_tells_nothing():
    model, told = Model(), {"a": 2.0, "b": 0.5}
    assert torch.allclose(model.guided(Composed(2.5)), model.guided(ClassifierFree(2.5)), atol=1e-5)
    free = model.guided(ClassifierFree(2.5), [told] * len(ROWS))
    for scale in (0.0, 3.0):
        alone = Composed(scale, also=[wish(2.5, **told)])
        assert torch.allclose(model.guided(alone, [{}] * len(ROWS)), free, atol=1e-5)


def test_two_halves_of_a_wish_are_the_wish():
    model, rows = Model(), [{"a": 3.0}] * len(ROWS)
    halves = model.guided(Composed(1.0, also=[wish(1.0, a=3.0)]), rows)
    assert torch.allclose(halves, model.guided(ClassifierFree(2.0), rows), atol=1e-5)


def test_scale_one_alone_and_times_outside_the_interval_are_one_plain_call():
    model, late = Model(), torch.full((3,), 0.9)
    assert torch.equal(model.guided(Composed(1.0)), model.predicted("a", "b"))
    guidance = Composed(2.0, also=[wish(1.0, a=4.0)], interval=(0.0, 0.8))
    plain = model.guided(Composed(1.0), t=late)
    model.denoiser.network.batches.clear()
    assert torch.equal(model.guided(guidance, t=late), plain)
    assert model.denoiser.network.batches == [len(ROWS)]


def test_its_scale_says_how_much_it_contrasts_with_what_is_not_told():
    assert Composed(2.0, also=[wish(1.5, a=1.0), wish(-0.5, a=2.0)]).scale == 3.0
    assert Composed(0.5, also=[wish(0.5, a=1.0)]).scale == 1.0


@pytest.mark.parametrize("also", [
    {"cond": {"a": 1.0}}, {"cond": {}, "scale": 1.0}, {"cond": "a", "scale": 1.0}, {"a": 1.0, "scale": 1.0},
    {"cond": {"a": 1.0}, "scale": float("nan")}, {"cond": {"a": 1.0}, "scale": True},
])
def test_a_wish_of_another_shape_is_refused(also):
    with pytest.raises(ValueError, match=r"guidance.also is a list of \{cond: \{FIELD: VALUE\}, scale: NUMBER\}"):
        Composed(also=[also])


def test_other_mistakes_are_named():
    with pytest.raises(ValueError, match="guidance scale is 0 or more"):
        Composed(-1.0)
    with pytest.raises(ValueError, match="no field 'colour'; it has a, b"):
        Model().guided(Composed(also=[wish(1.0, colour="red")]))
