"""The limiter: nothing leaves full scale, what was below it stays, and what was done is told."""

import math

import pytest
import torch

from mmdiff.adapters.audio.codec import MelCodec
from mmdiff.adapters.audio.limiter import CEILING, limit, true_peak

RATE = 8000


def tone(frequency, *, seconds=0.5, phase=0.0):
    t = torch.arange(round(seconds * RATE)) / RATE
    return torch.sin(2 * math.pi * frequency * t + phase)[None]


@pytest.mark.parametrize("length", [1, 7, 100, 8000])
@pytest.mark.parametrize("level", [0.1, 1.0, 30.0])
def test_no_sample_and_no_peak_between_samples_is_beyond_the_ceiling(length, level):
    x = level * torch.randn(2, length, generator=torch.Generator().manual_seed(length))
    y, told = limit(x, RATE)
    assert y.shape == x.shape and y.abs().max() <= CEILING and true_peak(y).max() <= 1.01 * CEILING
    assert (told != {}) == bool(true_peak(x).max() > CEILING)


def test_what_is_below_the_ceiling_is_not_touched():
    x = 0.9 * tone(440)
    assert limit(x, RATE) == (x, {})


def test_a_peak_between_samples_is_seen():
    quarter = tone(RATE / 4, phase=math.pi / 4)                       # samples at 0.71 of a sine whose peaks are 1
    middle = true_peak(quarter)[:, 200:-200]
    assert quarter.abs().max() < 0.72 and middle.min() > 0.99 and middle.max() < 1.01


def test_only_the_surroundings_of_a_peak_are_turned_down():
    x = 0.5 * tone(440)
    x[0, 2000] = 1.96                                                 # twice the ceiling
    y, told = limit(x, RATE)
    far = (torch.arange(x.shape[1]) - 2000).abs() > 4 * 0.005 * RATE
    assert torch.equal(y[:, far], x[:, far])
    assert told["limited_db"] == pytest.approx(20 * math.log10(2), abs=0.2)
    assert 0 < told["limited_share"] < 0.01


def test_a_tone_that_is_too_loud_stays_a_tone_of_its_shape():
    y, told = limit(3 * tone(440), RATE)
    torch.testing.assert_close(y[:, 200:-200], CEILING * tone(440)[:, 200:-200], atol=0.03, rtol=0)
    assert told["limited_db"] == pytest.approx(20 * math.log10(3 / CEILING), abs=0.1)


def test_a_codec_of_sound_finishes_what_is_too_loud():
    sample, told = MelCodec().finished(2 * tone(440))
    assert sample.abs().max() <= CEILING and set(told) == {"limited_share", "limited_db"}
