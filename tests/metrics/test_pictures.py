"""PSNR, SSIM and drift against closed form."""

import math

import pytest
import torch

from mmdiff.metrics.pictures import drift, psnr, ssim


def test_psnr_of_a_constant_error_is_known():
    x = torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(psnr(x, x + 0.2), torch.full((3,), 20.0).double(), atol=1e-4, rtol=0)
    assert psnr(x, x).isinf().all()


def test_ssim_of_a_picture_with_itself_is_one_and_is_symmetric():
    x, y = torch.randn(2, 2, 3, 4, 16, 16)
    torch.testing.assert_close(ssim(x, x), torch.ones(2).double())
    torch.testing.assert_close(ssim(x, y), ssim(y, x))
    assert (ssim(x, y) < 0.2).all()


def test_ssim_of_flat_pictures_is_that_of_their_means():
    x, y = torch.full((1, 1, 12, 12), 0.5), torch.full((1, 1, 12, 12), -0.25)
    c1 = 0.02**2
    assert ssim(x, y).item() == pytest.approx((2 * 0.5 * -0.25 + c1) / (0.5**2 + 0.25**2 + c1), abs=1e-6)


def test_ssim_of_a_scaled_pattern_is_that_of_one_window():
    x = torch.randn(1, 1, 11, 11, dtype=torch.float64)                 # one window alone
    offset = torch.arange(11) - 5
    line = torch.exp(-offset.double().square() / 4.5)
    weight = torch.outer(line, line) / line.sum() ** 2
    mean = (weight * x).sum()
    variance = (weight * x * x).sum() - mean**2
    c1, c2 = 0.02**2, 0.06**2
    expected = (math.prod([mean * mean * 6 + c1, 6 * variance + c2])
                / math.prod([10 * mean * mean + c1, 10 * variance + c2]))
    torch.testing.assert_close(ssim(x, 3 * x)[0], expected)


def test_small_pictures_are_refused():
    with pytest.raises(ValueError, match="11 x 11"):
        ssim(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))


def test_drift_is_the_change_of_brightness():
    clips = torch.zeros(2, 1, 5, 4, 4)
    clips[1, :, -1] = 0.5
    assert drift(clips).tolist() == [0.0, 0.5]
