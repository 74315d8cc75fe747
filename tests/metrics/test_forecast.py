"""Forecasts: their score against its closed form, and what is had without a model."""

import math

import pytest
import torch

from mmdiff.adapters.video.motion import moved_along
from mmdiff.metrics.forecast import crps, jump


def test_crps_is_that_of_a_normal_forecast_whatever_the_number_of_members():
    """Of N(0, 1) at y: y (2 F(y) - 1) + 2 f(y) - 1 / sqrt(pi) (Gneiting & Raftery 2007, eq. 20's remark)."""
    generator, y = torch.Generator().manual_seed(0), 0.7
    f, F = math.exp(-(y**2) / 2) / math.sqrt(2 * math.pi), 0.5 * (1 + math.erf(y / math.sqrt(2)))
    expected = y * (2 * F - 1) + 2 * f - 1 / math.sqrt(math.pi)
    for members in (2, 5):
        drawn = torch.randn(members, 1, 1, 1, 200_000, generator=generator)
        assert crps(drawn, torch.full_like(drawn[0], y)).item() == pytest.approx(expected, abs=5e-3)


def test_crps_of_one_member_is_the_absolute_error_by_lead_and_of_the_truth_0():
    truth, guess = torch.zeros(2, 3, 2, 4), torch.ones(2, 3, 2, 4)
    guess[:, :, 1] = 3
    assert crps(guess[None], truth).tolist() == [[1, 3], [1, 3]]
    assert (crps(truth.expand(3, *truth.shape), truth) == 0).all()
    assert jump(truth, guess).tolist() == [1, 1]


@pytest.mark.parametrize("v", [(0.0, 0.0), (1.0, -2.0), (0.5, 1.25)])
def test_what_moves_evenly_is_predicted_by_moving_it_along(v):
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    frames = torch.stack([torch.exp(-((y - 14 - v[0] * t) ** 2 + (x - 16 - v[1] * t) ** 2) / 18) for t in range(6)])
    clip = frames[None, None]
    made = moved_along(clip[:, :, :4], 2)
    held = clip[:, :, 3:4].expand_as(made)
    error, stays = (made - clip[:, :, 4:]).abs().mean(), (held - clip[:, :, 4:]).abs().mean()
    assert error < (1e-6 if v == (0, 0) else 0.1 * stays), (error, stays)
