"""Noise found again, against closed form."""

import pytest
import torch

from mmdiff.core.invert import invert
from mmdiff.core.samplers import Auto
from mmdiff.core.schedules import Cosine, Linear, Shifted, VarianceExploding, VariancePreserving
from mmdiff.testing import Gaussian
from tests.grid import name

F64 = torch.float64
DATA = Gaussian(torch.tensor([0.4, -1.2, 0.0], dtype=F64), torch.tensor([0.9, 0.5, 1.5], dtype=F64))
NOISE = torch.randn(64, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
every_schedule = pytest.mark.parametrize(
    "schedule", [VariancePreserving(), Cosine(), VarianceExploding(), Linear(), Shifted(Linear(), 3.0)], ids=name
)


def top(schedule):
    return [float(v) for v in schedule.level(torch.ones((), dtype=F64))]


@every_schedule
def test_the_noise_of_a_gaussian_comes_back_on_every_schedule(schedule):
    alpha, sigma = top(schedule)
    x1 = NOISE * (alpha**2 + sigma**2) ** 0.5
    x0 = DATA.endpoint(x1, alpha, sigma)
    found = invert(DATA.denoiser(schedule), x0, schedule, steps=40)
    torch.testing.assert_close(found, NOISE, rtol=0, atol=1e-2)


@every_schedule
def test_what_a_sampler_makes_goes_back_to_where_it_came_from(schedule):
    alpha, sigma = top(schedule)
    x0 = Auto(40)(DATA.denoiser(schedule), NOISE * (alpha**2 + sigma**2) ** 0.5, schedule)
    torch.testing.assert_close(invert(DATA.denoiser(schedule), x0, schedule, steps=40), NOISE, rtol=0, atol=1e-2)


def test_more_steps_come_nearer_by_the_order_of_heuns_rule():
    x0 = DATA.endpoint(NOISE, 0.0, 1.0)
    errors = [(invert(DATA.denoiser(Linear()), x0, Linear(), steps=n) - NOISE).square().mean().sqrt() for n in (8, 32)]
    assert errors[1] < errors[0] / 12


def test_float32_and_the_batch_are_kept_and_no_step_at_all_is_refused():
    found = invert(DATA.denoiser(Linear()), NOISE[:2].float(), Linear())
    assert found.dtype == torch.float32 and found.shape == (2, 3)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        invert(DATA.denoiser(Linear()), NOISE, Linear(), steps=0)
