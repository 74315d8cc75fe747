"""Spectral distances against closed form."""

import pytest
import torch

from mmdiff.adapters.audio.spectra import FLOOR, log_spectral_distance, mean_power, spectrum_distance


@pytest.fixture
def noise():
    return torch.randn(4, 1, 4000, generator=torch.Generator().manual_seed(0))


def test_a_gain_of_6_db_is_a_distance_of_6_db(noise):
    distance = log_spectral_distance(noise, 2 * noise)
    torch.testing.assert_close(distance, torch.full((4,), 6.0206).double(), atol=1e-4, rtol=0)
    assert log_spectral_distance(noise, noise).max() == 0


def test_silence_is_floored_and_not_infinitely_far():
    tone = torch.sin(torch.arange(4000) * 0.3)[None, None]
    cut = torch.cat([tone[..., :2000], torch.zeros(1, 1, 2000)], -1)
    assert 0 < log_spectral_distance(tone, cut).item() < FLOOR


def test_long_term_spectra_do_not_see_gain_or_order_but_see_a_filter(noise):
    power = mean_power(noise)
    assert spectrum_distance(power, mean_power(3 * noise)) == pytest.approx(0, abs=1e-6)
    assert spectrum_distance(power, power.flip(0)) == pytest.approx(0, abs=1e-9)
    filtered = torch.nn.functional.conv1d(noise, torch.ones(1, 1, 4))
    assert spectrum_distance(power, mean_power(filtered)) > 3


def test_a_tilt_of_known_size_is_found():
    flat = torch.ones(2, 100, dtype=torch.float64)
    level = torch.where(torch.arange(100) < 50, 3.0, -3.0).double()
    assert spectrum_distance(flat, flat * 10 ** (level / 10)) == pytest.approx(3.0)
