"""Wrappers that keep what is given, and those that look through windows."""

import itertools

import pytest
import torch

from mmdiff.core.editing import Inpaint, Windowed, starts
from mmdiff.core.given import Given
from mmdiff.core.samplers import DDIM, Auto, DPMSolverPP2MSDE, EulerAncestral
from mmdiff.core.schedules import Cosine, Linear, VarianceExploding

B, C, T = 2, 3, 10


def noise(i):
    return torch.randn(B, C, T, generator=torch.Generator().manual_seed(i + 1), dtype=torch.float64)


def known(frames):
    mask = torch.zeros(B, 1, T, dtype=torch.bool)
    mask[..., :frames] = True
    return mask


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), VarianceExploding()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(
    "sampler", [Auto(8), DDIM(8), EulerAncestral(8), DPMSolverPP2MSDE(8)], ids=lambda s: type(s).__name__
)
def test_what_is_given_is_kept_to_the_last_bit_by_every_sampler(sampler, schedule):
    given, mask = normal(B, C, T), known(4)
    x1 = float(torch.hypot(*schedule.level(torch.ones((), dtype=torch.float64)))) * noise(-1)
    x0 = sampler(Inpaint(lambda x, t: 0.1 * x, given, mask), x1, schedule, noise)
    assert torch.where(mask, (x0 - given).abs() < 1e-9, True).all()
    assert (x0 - given).abs().max() > 1e-3


def test_the_given_part_runs_from_its_noise_to_itself_as_the_forward_process_says():
    schedule, given, mask, seen = Linear(), normal(B, C, T), known(4), []

    def denoise(x_t, t):
        seen.append((x_t, t))
        return 0.1 * x_t

    x1 = noise(-1)
    DDIM(8)(Inpaint(denoise, given, mask), x1, schedule, noise)
    for x_t, t in seen:
        level = schedule.level(t[0])
        expected = level.alpha * given + level.sigma * x1
        assert torch.where(mask, (x_t - expected).abs() < 1e-9, True).all()


def test_clean_tells_the_network_the_given_part_and_that_it_has_no_noise():
    given, mask = normal(B, C, T), known(4)
    seen = {}

    def denoise(x_t, t):
        seen.update(x=x_t, t=t)
        return torch.zeros_like(x_t)

    Inpaint(denoise, given, mask, clean=True)(noise(0), torch.full((B,), 0.7))
    assert torch.equal(seen["x"][..., :4], given[..., :4])
    assert (seen["t"][:, :4] == 0).all() and (seen["t"][:, 4:] == torch.tensor(0.7)).all()


def test_clean_refuses_parts_of_frames_and_wrong_masks():
    video = torch.zeros(1, 1, 4, 2, 2)
    mask = torch.zeros_like(video, dtype=torch.bool)
    mask[..., 0] = True
    Inpaint(lambda x, t: x, video, mask)
    with pytest.raises(ValueError, match="whole frames"):
        Inpaint(lambda x, t: x, video, mask, clean=True)
    with pytest.raises(ValueError, match="bool mask"):
        Inpaint(lambda x, t: x, video, mask.float())
    with pytest.raises(ValueError, match="NaN"):
        Inpaint(lambda x, t: x, video / 0, mask)


def test_nothing_given_changes_nothing_and_nan_beside_the_given_part_does_not_matter():
    given, x = torch.full((B, C, T), torch.nan), noise(0)
    assert torch.equal(Inpaint(lambda x, t: 0.5 * x, given, known(0))(x, torch.zeros(B)), 0.5 * x)


@pytest.mark.parametrize(("length", "size", "overlap"), [(5, 8, 2), (8, 8, 0), (9, 8, 0), (20, 8, 2), (100, 7, 6)])
def test_windows_cover_everything_and_overlap_as_asked(length, size, overlap):
    first = starts(length, size, overlap) if length > size else [0]
    assert first[0] == 0 and first[-1] + size >= length and first[-1] <= max(0, length - size)
    assert all(b - a <= size - overlap for a, b in itertools.pairwise(first))


def test_windows_of_a_pointwise_denoiser_change_nothing():
    x, t = normal(B, C, 23), torch.rand(B, 23, dtype=torch.float64)
    exact = x * (1 - t[:, None])
    out = Windowed(lambda: lambda x, t: x * (1 - t[:, None]), size=8, overlap=3)(x, t)
    assert (out - exact).abs().max() < 1e-12


def test_windowed_sampling_of_independent_gaussians_is_exact():
    schedule, x1 = Linear(), normal(B, C, 23)

    def denoise(x, t):                                                # E[x0 | x] of N(0, 1 / 4)
        alpha, sigma = (v[:, None, None] for v in schedule.level(t))
        return 0.25 * alpha / (0.25 * alpha**2 + sigma**2) * x

    whole = Auto(12)(denoise, x1, schedule)
    parts = Auto(12)(Windowed(lambda: denoise, size=8, overlap=3), x1, schedule)
    assert (whole - parts).abs().max() < 1e-12


def test_given_kinds_have_their_shares_and_never_give_everything():
    torch.manual_seed(0)
    shares = {"first": 0.3, "prefix": 0.2, "ends": 0.1, "some": 0.1}
    given = Given(**shares).draw(torch.rand(20000, 2 + 6, dtype=torch.float64), torch.full((20000,), 6), 6)
    assert not given.all(1).any()
    only_first = (given == torch.tensor([True] + [False] * 5)).all(1).double().mean()
    assert abs(only_first - (0.3 + 0.2 / 5)) < 0.03                   # 'some' adds at most its share of single ones
    assert abs((~given).all(1).double().mean() - 0.3) < 0.04
    assert given[:, 0].double().mean() > 0.6


def test_given_of_a_single_position_gives_nothing():
    assert not Given().draw(torch.rand(100, 3), torch.ones(100, dtype=torch.int64), 1).any()


def test_padding_changes_nothing_of_what_is_given_and_repeats_the_last():
    u, lengths = torch.rand(500, 2 + 9, dtype=torch.float64), torch.arange(500) % 5 + 2
    padded = Given(first=0.2, prefix=0.3, ends=0.2, some=0.3).draw(u, lengths, 9)
    for i, n in enumerate(lengths.tolist()):
        own = Given(first=0.2, prefix=0.3, ends=0.2, some=0.3).draw(u[i : i + 1, : 2 + n], lengths[i : i + 1], n)
        assert torch.equal(padded[i, :n], own[0]) and (padded[i, n:] == own[0, -1]).all()


def test_shares_beyond_one_are_refused():
    with pytest.raises(ValueError, match="at most 1"):
        Given(first=0.9, prefix=0.2)
