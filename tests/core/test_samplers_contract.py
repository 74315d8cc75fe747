"""What every sampler promises whatever its mathematics: calls, times, noise, dtypes, ends."""

import itertools

import pytest
import torch

from mmdiff.core.grids import KarrasGrid, LogSNR, Power, Trailing, UniformGrid
from mmdiff.core.samplers import (
    DDIM,
    DDPM,
    AdamsPC,
    Auto,
    DPMSolverPP2M,
    DPMSolverPP2MSDE,
    DPMSolverPP2S,
    DPMSolverPP3M,
    Euler,
    EulerAncestral,
    Heun,
    UniPC,
)
from mmdiff.core.schedules import Cosine, Linear, Shifted, VarianceExploding, VariancePreserving
from mmdiff.testing import Gaussian
from tests.grid import diagonal, name

DETERMINISTIC = [Euler, DDIM, Heun, DPMSolverPP2S, DPMSolverPP2M, DPMSolverPP3M, UniPC, AdamsPC]
STOCHASTIC = [DDPM, EulerAncestral, DPMSolverPP2MSDE]
SHIFTED = [Shifted(Linear(), 3.0), Shifted(Cosine(), 0.3)]
SCHEDULES = [VariancePreserving(), Cosine(), VarianceExploding(), Linear(), *SHIFTED]
GRIDS = [UniformGrid(), Trailing(), KarrasGrid(), LogSNR(), Power()]
STEPS = [*range(1, 18), 23, 32, 50, 77, 100, 149, 200]
KINDS = DETERMINISTIC + STOCHASTIC
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
every_sampler = pytest.mark.parametrize("kind", KINDS)
DATA = Gaussian(torch.tensor([0.5, -1.0], dtype=torch.float64), torch.tensor([0.8, 0.1], dtype=torch.float64))


def noise(i):
    return torch.full((3, 2), (-1.0) ** i, dtype=torch.float64)


def start(schedule, dtype=torch.float64):
    x = torch.tensor([[0.3, -0.7], [1.1, 0.2], [-1.9, 0.9]], dtype=dtype)
    return x * float(torch.hypot(*schedule.level(torch.ones((), dtype=torch.float64))))


class Recorder:
    """The exact denoiser; keeps the times it was called at."""

    def __init__(self, schedule):
        self.denoise, self.times = DATA.denoiser(schedule), []

    def __call__(self, x_t, t):
        assert t.shape == (len(x_t),)
        assert t.dtype == x_t.dtype
        self.times.append(t[0].item())
        return self.denoise(x_t, t)


@diagonal(schedule=SCHEDULES, grid=GRIDS)
def test_times_fall_strictly_from_exactly_one_for_1_to_200_nodes(schedule, grid):
    for n in range(1, 201):
        t = grid(schedule, n)
        assert t.dtype == torch.float64
        assert len(t) == n
        assert t[0] == 1
        assert (t.diff() < 0).all()
        assert t[-1] >= 0


@diagonal(kind=KINDS, schedule=SCHEDULES, grid=GRIDS)
def test_calls_are_as_promised_and_the_result_is_finite_for_1_to_200_steps(kind, schedule, grid):
    for steps in (1, 2, 3, 6, 17):
        recorder, seen = Recorder(schedule), []
        sampler = kind(steps, grid)
        x0 = sampler(recorder, start(schedule), schedule, noise, seen.append)
        assert torch.isfinite(x0).all()
        assert len(recorder.times) == sampler.calls
        assert seen == list(range(sampler.calls))
        assert set(recorder.times) == set(grid(schedule, steps).tolist())


@every_sampler
def test_number_of_calls_from_1_to_200_steps(kind):
    for steps in STEPS:
        recorder, sampler = Recorder(Linear()), kind(steps)
        sampler(recorder, start(Linear()), Linear(), noise)
        assert len(recorder.times) == sampler.calls == (2 * steps - 1 if kind is Heun else steps)


@every_schedule
def test_auto_calls_the_network_steps_times_and_is_accurate_for_1_to_200_steps(schedule):
    x1 = start(schedule)
    level = [float(v) for v in schedule.level(torch.ones((), dtype=torch.float64))]
    exact, errors = DATA.endpoint(x1, *level), []
    for steps in STEPS:
        recorder = Recorder(schedule)
        x0 = Auto(steps)(recorder, x1, schedule)
        assert len(recorder.times) == Auto(steps).calls == steps
        errors.append((x0 - exact).abs().max().item())
    assert max(error for steps, error in zip(STEPS, errors, strict=True) if steps >= 20) < 5e-3
    assert max(error for steps, error in zip(STEPS, errors, strict=True) if steps >= 100) < 2e-4


@diagonal(kind=KINDS, schedule=SCHEDULES)
def test_one_step_gives_the_denoised_start(kind, schedule):
    x1 = start(schedule)
    expected = DATA.denoiser(schedule)(x1, torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(kind(1)(DATA.denoiser(schedule), x1, schedule, noise), expected, rtol=1e-9, atol=1e-9)


@diagonal(kind=KINDS, schedule=SCHEDULES, grid=GRIDS)
def test_last_step_is_taken_and_reaches_the_clean_level(kind, schedule, grid):
    """All data in one point: whatever noise is left at the end shows in full."""
    point = Gaussian(torch.tensor([0.5, -1.0], dtype=torch.float64), torch.full((2,), 1e-9, dtype=torch.float64))
    for steps in (1, 2, 5, 50):
        x0 = kind(steps, grid)(point.denoiser(schedule), start(schedule), schedule, noise)
        torch.testing.assert_close(x0, point.mean.expand(3, 2), rtol=0, atol=1e-6)


@diagonal(kind=KINDS, schedule=SCHEDULES)
def test_float32_stays_float32_and_close_to_float64(kind, schedule):
    wide = kind(20)(DATA.denoiser(schedule), start(schedule), schedule, noise)
    narrow = kind(20)(DATA.denoiser(schedule), start(schedule, torch.float32), schedule, lambda i: noise(i).float())
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), wide, rtol=0, atol=2e-3)


@pytest.mark.parametrize("kind", STOCHASTIC)
def test_stochastic_samplers_ask_for_noise_by_number_and_refuse_to_draw_it(kind):
    asked = []

    def counted(i):
        asked.append(i)
        return noise(i)

    kind(5)(DATA.denoiser(Linear()), start(Linear()), Linear(), counted)
    assert asked == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="pass noise="):
        kind(5)(DATA.denoiser(Linear()), start(Linear()), Linear())


@pytest.mark.parametrize("kind", [*DETERMINISTIC, Auto])
def test_deterministic_samplers_never_ask_for_noise_and_leave_x1_alone(kind):
    def refuse(i):
        raise AssertionError

    x1 = start(Cosine())
    copy = x1.clone()
    first, second = (kind(9)(DATA.denoiser(Cosine()), x1, Cosine(), refuse) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(x1, copy)


def test_stochastic_samplers_without_their_noise_are_the_deterministic_ones():
    def run(sampler):
        return sampler(DATA.denoiser(Cosine()), start(Cosine()), Cosine())

    torch.testing.assert_close(run(EulerAncestral(9, eta=0.0)), run(Euler(9)))
    torch.testing.assert_close(run(DDIM(9)), run(Euler(9)))
    torch.testing.assert_close(run(DPMSolverPP2MSDE(9, eta=0.0)), run(DPMSolverPP2M(9)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_state_is_never_kept_in_low_precision(dtype):
    with pytest.raises(TypeError, match="float32 or float64"):
        Euler(3)(DATA.denoiser(Linear()), start(Linear()).to(dtype), Linear())


def test_a_network_in_low_precision_does_not_lower_the_state():
    x0 = Auto(5)(lambda x, t: (0.5 * x).bfloat16(), start(Linear(), torch.float32), Linear())
    assert x0.dtype == torch.float32


@pytest.mark.parametrize(
    "make",
    [
        lambda: Euler(0),
        lambda: DDIM(5, eta=1.5),
        lambda: DPMSolverPP2MSDE(5, eta=-0.1),
        lambda: UniPC(5, order=0),
        lambda: AdamsPC(5, order=9),
        lambda: AdamsPC(5, correct=1),
        lambda: KarrasGrid(0.5),
        lambda: LogSNR(sigma_min=0.0),
        lambda: Power(0.5),
        lambda: UniformGrid()(Linear(), 0),
    ],
)
def test_impossible_settings_are_refused_with_what_was_given(make):
    with pytest.raises(ValueError, match="got"):
        make()


def test_uniform_on_variance_exploding_is_the_grid_of_edm():
    n, ramp = 18, torch.arange(18, dtype=torch.float64) / 17
    sigma = (80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    for grid in (UniformGrid(), KarrasGrid()):                        # the paper's data have standard deviation 0.5
        torch.testing.assert_close(VarianceExploding().level(grid(VarianceExploding(), n)).sigma, sigma / 0.5)


def test_power_of_one_is_the_uniform_grid_of_flow_matching():
    torch.testing.assert_close(Power(1.0, scale=1.0)(Linear(), 25), UniformGrid()(Linear(), 25))


def test_trailing_is_the_published_spacing_where_it_divides_the_training_steps():
    published = [round(1000 * (1 - i / 20)) for i in range(20)]
    torch.testing.assert_close(Trailing()(Linear(), 20) * 1000, torch.tensor(published, dtype=torch.float64))


@pytest.mark.parametrize(("grid", "other"), itertools.pairwise(GRIDS))
def test_tables_of_one_sampler_are_kept_apart(grid, other):
    """A cached table must never serve another grid or schedule."""
    for schedule in (Linear(), VarianceExploding()):
        recorder = Recorder(schedule)
        for g in (grid, other):
            recorder.times.clear()
            Euler(6, g)(recorder, start(schedule), schedule)
            assert recorder.times == g(schedule, 6).tolist()


@pytest.mark.parametrize("make", [Euler, Auto, AdamsPC], ids=lambda m: m.__name__)
def test_a_sampler_that_is_changed_is_the_one_that_would_have_been_built_so(make):
    schedule, sampler = Linear(), make(5)
    sampler(Recorder(schedule), start(schedule), schedule)
    sampler.steps = 20
    changed, built = Recorder(schedule), Recorder(schedule)
    x = [s(r, start(schedule), schedule) for s, r in ((sampler, changed), (make(20), built))]
    assert changed.times == built.times and len(changed.times) == 20 and torch.equal(*x)


def test_power_grid_spreads_down_to_the_end_of_a_schedule_that_has_one():
    schedule = VarianceExploding()
    few, many = (schedule.level(Power(2.0)(schedule, n)).sigma for n in (10, 100))
    assert few[-1] > 0.01
    assert many[-1].item() == pytest.approx(0.004)
