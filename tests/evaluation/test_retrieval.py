"""Captions are found among others: in closed form, by what is trained for it, and by a CLAP of transformers."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmdiff.adapters.judge import WIDTH, Body
from mmdiff.evaluation.retrieval import Pairs, fit, misread, retrieved
from mmdiff.metrics.bootstrap import Interval

FORMS = ("{}, all of it", "this one is {}")
PLACES = {"a": [1.0, 0.0, 0.0], "b": [0.0, 1.0, 0.0], "c": [0.0, 0.0, 1.0]}


class Line(Body):
    """Features of pairs of numbers."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, WIDTH)

    def forward(self, x):
        return self.layer(x)

    def augmented(self, x, generator):
        return x + 0.1 * torch.randn(x.shape, generator=generator)


JUDGE = SimpleNamespace(body=Line)


def points(n, seed):
    """Numbers that are either below or above 0, twice, and what they are."""
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    x = x + 0.5 * x.sign()
    return x, [f"{'red' if a > 0 else 'blue'} {'disc' if b > 0 else 'square'}" for a, b in x.tolist()]


def place(texts):
    return torch.tensor([PLACES[text] for text in texts])


def values(row):
    return [row[name].value for name in row if name not in ("n", "captions")]


def test_a_caption_is_found_where_it_is_the_nearest_of_all_that_differ():
    pairs, texts = Pairs(lambda x: x, place), ["a", "b", "c", "a"]
    right, wrong = retrieved(pairs, 3 * place(texts), texts), retrieved(pairs, place(texts), ["b", "c", "a", "b"])
    assert right["n"] == 4 and right["captions"] == 3
    assert values(right) == [1.0, 1.0, pytest.approx(1.0)]
    assert values(wrong) == [0.0, 1.0, pytest.approx(0.0)]            # of three captions all are among the nearest five
    near = torch.tensor([[1.0, 0.5, 0.0], [0.5, 0.4, 0.0]])
    assert retrieved(pairs, near, ["a", "b"])["R@1"].value == 0.5


def test_what_is_trained_for_it_tells_held_out_samples_by_captions_of_another_wording():
    x, kinds = points(64, 1)
    captions = [[form.format(kind) for form in FORMS] for kind in kinds]
    model, again = (fit(x, captions, judge=JUDGE, settings={}, steps=25, batch=24) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    held, kinds = points(40, 2)
    pairs = Pairs(model.samples, model.texts)
    for form in FORMS:
        texts = [form.format(kind) for kind in kinds]
        found, wrong = (retrieved(pairs, held, part) for part in (texts, [*texts[1:], texts[0]]))
        assert found["captions"] == 4 and found["R@1"].value > 0.8 > 0.5 > wrong["R@1"].value


def test_what_is_less_than_real_is_said_and_nothing_where_real_samples_are_not_told_either():
    def rows(real, model):
        return {"caption": {"real": {"n": 9, "R@1": Interval(real, real - 0.1, real + 0.1)},
                            "model": {"n": 9, "R@1": Interval(model, model - 0.1, model + 0.1)}}}

    assert misread(rows(0.9, 0.85)) == []
    assert misread(rows(0.9, 0.4)) == ["caption is obeyed less than by real samples: R@1 is 40%, of real samples 90%."]
    assert misread(rows(0.4, 0.1)) == ["Whether caption is obeyed cannot be said by retrieval: R@1 of real samples is "
                                       "40%."]
