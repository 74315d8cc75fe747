"""Means and variances, propagated exactly: on Gaussian data every sampler is an affine map."""

import pytest
import torch

from mmdiff.core.grids import LogSNR
from mmdiff.core.samplers import DDIM, DDPM, Auto, DPMSolverPP2M, DPMSolverPP2MSDE, EulerAncestral, Heun, UniPC
from mmdiff.core.samplers.base import trace
from mmdiff.core.schedules import Cosine, Linear, VarianceExploding, VariancePreserving
from mmdiff.testing import Gaussian

F64 = torch.float64
GAUSSIAN = Gaussian(torch.tensor([0.4, -1.2, 0.0], dtype=F64), torch.tensor([0.9, 0.2, 1.5], dtype=F64))
FINE = LogSNR(sigma_min=1e-4)
SCHEDULES = [VariancePreserving(), Cosine(), VarianceExploding(), Linear()]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)


def propagated(sampler, schedule, data):
    """Exact mean and variance of the samples: every step is affine in the start and in every injected noise."""
    steps, size = sampler.steps, len(data.mean)
    x1 = torch.zeros(steps + 2, size, dtype=F64)
    x1[1] = 1.0

    def unit(i):
        noise = torch.zeros_like(x1)
        noise[2 + i] = 1.0
        return noise

    rows = sampler(data.denoiser(schedule), x1, schedule, unit)
    gains = rows[1:] - rows[:1]
    alpha, sigma = (float(v) for v in schedule.level(torch.ones((), dtype=F64)))
    variance = gains[0] ** 2 * (alpha**2 * data.std**2 + sigma**2) + gains[1:].square().sum(0)
    return rows[0] + gains[0] * alpha * data.mean, variance


STOCHASTIC = {
    "ddpm": DDPM,
    "ddim_half": lambda n, grid: DDIM(n, grid, eta=0.5),
    "ancestral": EulerAncestral,
    "2m_sde": DPMSolverPP2MSDE,
    "2m_sde_half": lambda n, grid: DPMSolverPP2MSDE(n, grid, eta=0.5),
}


@every_schedule
@pytest.mark.parametrize("sampler", STOCHASTIC.values(), ids=STOCHASTIC)
def test_stochastic_samplers_reach_the_mean_and_the_variance_of_the_data(sampler, schedule):
    errors = []
    for steps in (50, 200):
        mean, variance = propagated(sampler(steps, FINE), schedule, GAUSSIAN)
        off = torch.stack([mean - GAUSSIAN.mean, variance.sqrt() / GAUSSIAN.std - 1])
        errors.append(float(off.abs().max()))
    assert errors[1] < 0.05
    assert errors[1] < errors[0] / 2.5


@every_schedule
def test_deterministic_samplers_carry_mean_and_variance_to_those_of_the_closed_form(schedule):
    for sampler in (Heun(150, FINE), DPMSolverPP2M(300, FINE), UniPC(150, FINE), Auto(50)):
        mean, variance = propagated(sampler, schedule, GAUSSIAN)
        torch.testing.assert_close(mean, GAUSSIAN.mean, rtol=0, atol=2e-3)
        torch.testing.assert_close(variance.sqrt(), GAUSSIAN.std, rtol=5e-3, atol=0)


@every_schedule
def test_ddpm_is_the_chain_of_posteriors_of_ho_et_al(schedule):
    """Moments by the recursion of the paper: q(x_s | x_t, x0) in terms of alpha_t / alpha_s, for any two levels."""
    path = trace(schedule, FINE, 25)
    alpha, sigma = path.alpha, path.sigma
    mean, variance = alpha[0] * GAUSSIAN.mean, alpha[0] ** 2 * GAUSSIAN.std**2 + sigma[0] ** 2
    for t in range(25):
        s = t + 1
        a_ts = alpha[t] / alpha[s]
        beta = sigma[t] ** 2 - a_ts**2 * sigma[s] ** 2
        on_x, on_x0 = a_ts * sigma[s] ** 2 / sigma[t] ** 2, alpha[s] * beta / sigma[t] ** 2
        gain = alpha[t] * GAUSSIAN.std**2 / (alpha[t] ** 2 * GAUSSIAN.std**2 + sigma[t] ** 2)
        on_x, offset = on_x + on_x0 * gain, on_x0 * (1 - gain * alpha[t]) * GAUSSIAN.mean
        mean, variance = on_x * mean + offset, on_x**2 * variance + beta * sigma[s] ** 2 / sigma[t] ** 2
    found = propagated(DDPM(25, FINE), schedule, GAUSSIAN)
    torch.testing.assert_close(found[0], mean, rtol=0, atol=1e-9)
    torch.testing.assert_close(found[1], variance, rtol=1e-9, atol=0)


@every_schedule
@pytest.mark.parametrize("sampler", STOCHASTIC.values(), ids=STOCHASTIC)
def test_noise_level_is_kept_exactly_whatever_the_share_of_fresh_noise(sampler, schedule):
    """For data in one point, every intermediate x must be N(alpha x0, sigma^2): turned and fresh noise add up."""
    path = trace(schedule, FINE, 12)
    for row in sampler(12, FINE).rows(path):
        sigma, following = path.sigma[row.node], path.sigma[row.node + 1]
        assert (row.step[0] * sigma) ** 2 + row.noise**2 == pytest.approx(following**2, rel=1e-9, abs=1e-18)
        kept = row.step[0] * path.alpha[row.node] + sum(row.step[1:])
        assert kept == pytest.approx(path.alpha[row.node + 1], rel=1e-9)
