"""Clips made by code, and moving digits: deterministic, and of the stated physics."""

import numpy as np
import pytest
import torch

from mmdiff.adapters.video.captioned_shapes import COMBINATIONS, CaptionedShapes
from mmdiff.adapters.video.moving_digits import MovingDigits
from mmdiff.adapters.video.shapes import BACKGROUND, COLOURS, SHAPES, Shapes, bounce, coverage
from mmdiff.core.rng import Purpose, stream
from mmdiff.data.splits import split
from tests.conftest import shared_data


@pytest.fixture
def digits(tmp_path):
    """A tiny MNIST of noise with one lit pixel row a class."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, n in (("train", 20), ("test", 10)):
        arrays[f"x_{name}"] = rng.integers(0, 255, (n, 28, 28), dtype=np.uint8)
        arrays[f"y_{name}"] = np.arange(n, dtype=np.uint8) % 10
    np.savez(tmp_path / "mnist.npz", **arrays)
    return tmp_path


def test_shapes_are_what_their_labels_say():
    data = Shapes(n=24, frames=4, size=48)
    for i in range(24):
        clip, labels = data.read(i)
        assert clip.shape == (3, 4, 48, 48) and clip.dtype == torch.float32
        inside = clip[:, 0].reshape(3, -1)[:, (clip[:, 0] - BACKGROUND).abs().sum(0).flatten().argmax()]
        assert np.allclose(inside, COLOURS[labels["colour"]], atol=1e-5)
        assert labels == data.column(i)
    assert {data.column(i)["shape"] for i in range(24)} == set(SHAPES)


def test_a_read_is_fixed_without_an_rng_and_new_with_one_but_keeps_its_labels():
    data = Shapes(n=5)
    assert torch.equal(data.read(3)[0], data.read(3)[0])
    clip, labels = data.read(3, stream(0, 7, Purpose.AUGMENT))
    assert not torch.equal(clip, data.read(3)[0]) and labels == data.read(3)[1]


def test_bouncing_is_even_between_walls_and_stays_inside():
    path = bounce(np.array([0.5, 0.3]), 0.05, 0.7, frames=200, radius=0.2)
    assert path.min() >= 0.2 - 1e-12 and path.max() <= 0.8 + 1e-12
    steps = np.abs(np.diff(path, axis=0))
    straight = np.isclose(steps, 0.05 * np.abs([np.sin(0.7), np.cos(0.7)])).mean()
    assert straight > 0.85


@pytest.mark.parametrize("shape", SHAPES)
def test_coverage_has_the_area_and_the_centre_of_the_shape_at_any_size(shape):
    areas = {"disc": np.pi, "square": 4 * 0.9**2, "triangle": 3 * np.sqrt(3) / 1.8**2}
    for size in (32, 128):
        inside = coverage(shape, np.array([0.47, 0.52]), 0.2, size)
        assert abs(inside.sum() / size**2 / (areas[shape] * 0.04) - 1) < 0.04
        grid = (np.arange(size) + 0.5) / size
        centre = (inside.sum(1) @ grid / inside.sum(), inside.sum(0) @ grid / inside.sum())
        assert np.allclose(centre, (0.47, 0.52), atol=0.004)


def test_test_clips_come_from_test_digits_alone(digits):
    data = MovingDigits(root=digits, digits=2, frames=3, size=40, digit=28)
    seen = []
    data._picture = lambda index: seen.append(index) or np.zeros((28, 28), np.float32)
    for i in range(len(data)):
        seen.clear()
        data.read(i)
        assert len({index < 20 for index in seen}) == 1 and seen[0] == i
    train, test = split(data, {"split": ["test"]})
    assert (len(train), len(test)) == (20, 10)


def test_digits_move_evenly_are_whole_and_deterministic(digits):
    data = MovingDigits(root=digits, frames=12, size=64)
    clip, labels = data.read(3)
    assert clip.shape == (1, 12, 64, 64) and labels == {"digit": "3"}
    lit = (clip[0] > -1).float()
    assert torch.equal(clip, data.read(3)[0])
    assert not torch.equal(clip, data.read(3, stream(0, 1, Purpose.AUGMENT))[0])
    for frame in lit:
        rows, columns = frame.any(1).nonzero(), frame.any(0).nonzero()
        assert rows.max() - rows.min() == 27 and columns.max() - columns.min() == 27


def test_what_is_no_mnist_is_refused(tmp_path, digits):
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match="no npz"):
        MovingDigits(root=tmp_path / "text.npz")
    with pytest.raises(ValueError, match="digit <= size"):
        MovingDigits(root=digits, size=20)


def test_the_real_digits_are_read():
    data = MovingDigits(root=shared_data("video", "mnist"), frames=4, size=32, digit=20)
    assert len(data) == 70_000
    clip, _ = data.read(60_000)
    assert clip.amin() == -1 and clip.amax() > 0.5


def test_the_pair_that_is_held_out_is_the_one_that_is_named_and_one_way_of_every_other():
    data = CaptionedShapes(n=960, size=16, pair=["disc", "red"])
    parts = {kinds: set() for kinds in COMBINATIONS}
    for i in range(960):
        column = data.column(i)
        parts[column["shape"], column["colour"], column["pace"], column["direction"]].add(column["part"])
    assert all(parts[kinds] == {"pair"} for kinds in COMBINATIONS if kinds[:2] == ("disc", "red"))
    fours = [kinds[:2] for kinds, part in parts.items() if part == {"four"}]
    assert len(fours) == len(set(fours)) == 11 and ("disc", "red") not in fours
    assert sum(part == {"train", "seen"} for part in parts.values()) == 96 - 8 - 11
    with pytest.raises(ValueError, match="pair is one of .*'disc'.* and one of .*'red'.*, got"):
        CaptionedShapes(pair=["red", "disc"])
