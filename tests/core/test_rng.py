import torch

from mmdiff.core.rng import Purpose, normal, stream, uniform
from mmdiff.core.types import Masked


def like(batch=4, channels=3, length=10):
    return Masked(torch.empty(batch, channels, length))


def test_a_number_depends_on_its_key_alone():
    draws = torch.tensor([7, 3, 11])
    together = normal(0, draws, Purpose.NOISE, like(3))
    alone = normal(0, draws[1:2], Purpose.NOISE, like(1))
    assert torch.equal(together[1], alone[0])
    assert torch.equal(uniform(0, draws, Purpose.TIME)[2], uniform(0, draws[2:], Purpose.TIME)[0])


def test_every_part_of_the_key_matters():
    base = {"seed": 1, "draw": 2, "purpose": Purpose.NOISE, "part": 3}
    first = stream(**base).random(4).tolist()
    for change in ({"seed": 2}, {"seed": 1 + 2**32}, {"draw": 3}, {"draw": 2 + 2**40}, {"purpose": Purpose.START},
                   {"part": 4}):
        assert stream(**{**base, **change}).random(4).tolist() != first, change


def test_noise_of_a_sample_does_not_depend_on_padding():
    mask = torch.zeros(2, 1, 10, dtype=torch.bool)
    mask[0, :, :6], mask[1] = True, True
    padded = normal(0, torch.tensor([5, 6]), Purpose.NOISE, Masked(torch.empty(2, 3, 10), mask))
    alone = normal(0, torch.tensor([5]), Purpose.NOISE, like(1, 3, 6))
    assert torch.equal(padded[0, :, :6], alone[0])
    assert (padded[0, :, 6:] == 0).all()


def test_draws_do_not_correlate_and_are_standard_normal():
    x = normal(0, torch.arange(64), Purpose.NOISE, like(64, 4, 512)).flatten(1)
    assert abs(x.mean()) < 0.01 and abs(x.var() - 1) < 0.01
    correlation = torch.corrcoef(x) - torch.eye(64)
    assert correlation.abs().max() < 6 / x.shape[1] ** 0.5


def test_uniform_draws_are_inside_the_open_interval():
    u = uniform(3, torch.arange(2000), Purpose.TIME, 5)
    assert u.min() > 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.01
