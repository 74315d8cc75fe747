"""Motion is measured back from clips whose motion is known."""

import math

import pytest
import torch

from mmdiff.adapters.video.motion import acceleration, centres, corrupted, sharpness, speed
from mmdiff.adapters.video.shapes import BACKGROUND, Shapes
from mmdiff.metrics.pairs import consistency, wasserstein


def clips(n=48, frames=8):
    data = Shapes(n=n, frames=frames)
    pairs = [data.read(i) for i in range(n)]
    return torch.stack([x for x, _ in pairs]), [labels for _, labels in pairs]


def test_speed_is_measured_to_a_hundredth_of_a_pixel_between_walls():
    from mmdiff.adapters.video.shapes import render

    path = [(0.4 + 0.02 * k, 0.5 - 0.01 * k) for k in range(6)]
    clip = torch.stack([torch.from_numpy(render("disc", "red", c, 0.2, 32)) for c in path], 1)[None]
    found = centres(clip, background=BACKGROUND, least=0.02)
    assert abs(speed(found).item() - math.hypot(0.02, 0.01)) < 0.01 / 32
    assert acceleration(found).item() < 0.02 / 32


def test_bouncing_never_exceeds_the_speed_and_reaches_it():
    x, labels = clips()
    measured, told = speed(centres(x, background=BACKGROUND, least=0.05)), [v["speed"] / 8 for v in labels]
    assert (measured < torch.tensor(told) + 0.003).all()
    assert wasserstein(measured, torch.tensor(told)) < 0.02


@pytest.mark.parametrize("fault", corrupted(torch.zeros(2, 1, 4, 8, 8)))
def test_each_corruption_is_seen_by_a_measure(fault):
    x, _ = clips(64)
    bad = corrupted(x)[fault]
    assert bad.shape == x.shape
    real, found = (centres(c, background=BACKGROUND, least=0.05) for c in (x, bad))
    moved = max(
        wasserstein(f(found), f(real)) / f(real).mean().item() for f in (speed, acceleration)
    )
    sharp = abs(sharpness(bad).mean() / sharpness(x).mean() - 1).item()
    assert max(moved, sharp) > 0.1


def test_empty_frames_and_empty_samples_give_nan_not_an_error():
    blank = torch.full((2, 1, 4, 8, 8), -1.0)
    assert speed(centres(blank)).isnan().all()
    assert math.isnan(wasserstein(speed(centres(blank)), torch.ones(3)))


def test_consistency_is_the_share_of_the_commonest_class():
    assert consistency(torch.tensor([[1, 1, 2, 1], [3, 3, 3, 3]])).tolist() == [0.75, 1.0]
