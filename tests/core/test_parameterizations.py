import pytest
import torch

from mmdiff.core.denoiser import Denoiser
from mmdiff.core.parameterizations import Data, Difference, Karras, Noise, V, Velocity
from mmdiff.core.schedules import Cosine, Linear, Shifted, VarianceExploding, VariancePreserving
from mmdiff.core.types import Level

PARAMETERIZATIONS = {p.__name__: p() for p in (Noise, Data, V, Velocity, Karras, Difference)}
SCHEDULES = [VariancePreserving(), Cosine(), VarianceExploding(), Linear(), Shifted(Linear(), 3.0)]
every_parameterization = pytest.mark.parametrize("kind", PARAMETERIZATIONS.values(), ids=PARAMETERIZATIONS)
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)


def problem(schedule, times):
    generator = torch.Generator().manual_seed(0)
    t = torch.tensor(times, dtype=torch.float64)[:, None]
    x0, eps = torch.randn(2, len(t), 5, generator=generator, dtype=torch.float64)
    level, slope = schedule.level(t), schedule.slope(t)
    return x0, eps, level.alpha * x0 + level.sigma * eps, level, slope


@every_schedule
@every_parameterization
def test_denoised_inverts_target_at_every_level(kind, schedule):
    noisiest = 0.999 if isinstance(kind, Noise) else 1.0
    x0, eps, x_t, level, slope = problem(schedule, [1e-3, 0.1, 0.5, 0.9, noisiest])
    output = kind.target(x0, eps, level, slope)
    torch.testing.assert_close(kind.denoised(x_t, output, level, slope), x0, rtol=1e-8, atol=1e-8)


@every_schedule
@every_parameterization
def test_gain_is_the_derivative_of_the_output_in_x0(kind, schedule):
    x0, _, x_t, level, slope = problem(schedule, [0.1, 0.5, 0.9])

    def output(x0):
        return kind.target(x0, (x_t - level.alpha * x0) / level.sigma, level, slope)

    step = 1e-4
    derivative = (output(x0 + step) - output(x0 - step)) / (2 * step)
    gain = kind.gain(level, slope).expand_as(x0)
    torch.testing.assert_close(level.sigma * derivative.abs(), gain, rtol=1e-6, atol=1e-6)


@every_schedule
@every_parameterization
def test_gain_is_finite_at_both_ends(kind, schedule):
    t = torch.tensor([1e-6, 1.0], dtype=torch.float64)
    assert torch.isfinite(kind.gain(schedule.level(t), schedule.slope(t))).all()


def test_velocity_on_the_linear_schedule_is_eps_minus_x0():
    x0, eps, _, level, slope = problem(Linear(), [0.3])
    torch.testing.assert_close(Velocity().target(x0, eps, level, slope), eps - x0)


def test_karras_is_the_preconditioning_of_edm_with_unit_data():
    sigma = torch.tensor([[0.5], [3.0]], dtype=torch.float64)
    level = Level(torch.ones_like(sigma), sigma)
    x, output = torch.randn(2, 2, 4, dtype=torch.float64)
    skip, out = 1 / (sigma**2 + 1), sigma / (sigma**2 + 1).sqrt()
    torch.testing.assert_close(Karras().denoised(x, output, level, level), skip * x + out * output)


@pytest.mark.parametrize("schedule", [Cosine(), Linear()], ids=["cosine", "linear"])
def test_noise_is_refused_where_the_schedule_holds_no_signal(schedule):
    with pytest.raises(ValueError, match="Use V, Velocity, Data or Karras"):
        Denoiser(torch.nn.Identity(), schedule, Noise())


class Resting(Linear):
    """Ends above the clean level, and stands still there."""

    def level(self, t):
        return super().level(0.1 + 0.9 * t**2)

    def slope(self, t):
        return Level(*(1.8 * t * s for s in super().slope(t)))


def test_a_pair_that_gives_no_x0_at_an_end_is_refused():
    with pytest.raises(ValueError, match=r"Velocity does not give x0 on Resting at t = 0: level \(0.9, 0.1\), slope"):
        Denoiser(torch.nn.Identity(), Resting(), Velocity())
    Denoiser(torch.nn.Identity(), Resting(), V())
