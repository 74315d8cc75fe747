"""Order, invariance and propagation of moments, in float64, against closed form."""

import itertools
import math
from functools import cache

import pytest
import torch
from torch import nn

from mmdiff.core.denoiser import Denoiser
from mmdiff.core.grids import KarrasGrid, LogSNR, UniformGrid
from mmdiff.core.parameterizations import Data, Noise, V, Velocity
from mmdiff.core.parameterizations import Karras as KarrasOutput
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
from mmdiff.core.samplers.base import trace
from mmdiff.core.schedules import Cosine, Linear, Schedule, Shifted, VarianceExploding, VariancePreserving
from mmdiff.core.types import Level
from mmdiff.testing import Gaussian, Mixture, denoiser, endpoint, guided
from tests.grid import diagonal

F64 = torch.float64
SCHEDULES = [VariancePreserving(), Cosine(), VarianceExploding(1e-4), Linear()]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)


def make_mixture():
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(4, generator=generator, dtype=F64) + 0.2
    means = 0.7 * torch.randn(4, 6, generator=generator, dtype=F64)
    stds = 0.15 * (0.8 / 0.15) ** torch.rand(4, 6, generator=generator, dtype=F64)
    return Mixture(weights, means, stds)


MIXTURE = make_mixture()
NOISE = torch.randn(48, 6, generator=torch.Generator().manual_seed(1), dtype=F64)
GAUSSIAN = Gaussian(torch.tensor([0.4, -1.2, 0.0], dtype=F64), torch.tensor([0.9, 0.2, 1.5], dtype=F64))


def top(schedule):
    return [float(v) for v in schedule.level(torch.ones((), dtype=F64))]


def start(schedule, noise=NOISE):
    return noise * math.hypot(*top(schedule))


@cache
def endpoint_of_mixture(schedule, scale):
    return endpoint(field_of_mixture(scale), start(schedule), *top(schedule), steps=300)


def field_of_mixture(scale):
    """The conditional here is half of the components."""
    return guided(MIXTURE.subset(2).posterior_mean, MIXTURE.posterior_mean, scale)


def slope(sampler, schedule, grid, steps, scale=0.0):
    """Least-squares slope of log error against log steps, median over the trajectories; ``scale`` of guidance."""
    exact, errors = endpoint_of_mixture(schedule, scale), []
    for n in steps:
        x0 = sampler(n, grid)(denoiser(field_of_mixture(scale), schedule), start(schedule), schedule)
        errors.append((x0 - exact).square().mean(1).sqrt().median().log())
    x = torch.tensor(steps, dtype=F64).log()
    y = torch.stack(errors)
    return -float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def test_the_reference_of_these_tests_is_converged():
    for schedule in (VarianceExploding(1e-4), Linear()):
        finer = endpoint(field_of_mixture(4.0), start(schedule), *top(schedule), steps=450)
        torch.testing.assert_close(endpoint_of_mixture(schedule, 4.0), finer, rtol=0, atol=1e-6)


def test_the_reference_agrees_with_the_closed_form():
    for schedule in SCHEDULES:
        x1 = start(schedule, NOISE[:, :3])
        exact = GAUSSIAN.endpoint(x1, *top(schedule))
        found = endpoint(GAUSSIAN.posterior_mean, x1, *top(schedule), steps=200)
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-6)


FINE = LogSNR(sigma_min=1e-4)             # what the last step leaves out, sigma_min^2, is below every error measured


ORDERS = {
    "euler": (Euler, 1, (40, 80, 160)),
    "ddim": (DDIM, 1, (40, 80, 160)),
    "heun": (Heun, 2, (40, 80, 160)),
    "2s": (DPMSolverPP2S, 2, (81, 161, 321)),
    "2m": (DPMSolverPP2M, 2, (80, 160, 320)),
    "3m": (DPMSolverPP3M, 3, (160, 240, 320)),
    "unipc": (UniPC, 3, (80, 160, 240)),
    "2m_sde": (lambda n, grid: DPMSolverPP2MSDE(n, grid, eta=0.0), 2, (80, 160, 320)),
    "adams1": (lambda n, grid: AdamsPC(n, grid, order=1, correct=0), 1, (40, 80, 160)),
    "adams2": (lambda n, grid: AdamsPC(n, grid, order=2, correct=0), 2, (80, 160, 320)),
    "adams1_2": (lambda n, grid: AdamsPC(n, grid, order=1, correct=2), 2, (80, 160, 320)),
    "adams2_3": (lambda n, grid: AdamsPC(n, grid, order=2, correct=3), 3, (80, 160, 320)),
}


@diagonal(sampler=list(ORDERS), schedule=SCHEDULES)
def test_observed_order_is_nominal(sampler, schedule):
    make, nominal, steps = ORDERS[sampler]
    assert slope(make, schedule, FINE, steps) == pytest.approx(nominal, abs=0.2)


@every_schedule
def test_auto_is_of_third_order_at_least_and_on_guided_fields_too(schedule):
    for scale in (0.0, 4.0):
        assert slope(lambda n, _: Auto(n), schedule, None, (20, 30, 40, 60), scale) > 2.8


def test_errors_never_grow_up_to_1000_steps():
    """Closed-form weights of high order cancel when steps get short; these must not."""
    for make in (DPMSolverPP3M, lambda n, grid: UniPC(n, grid, order=3), lambda n, grid: Auto(n)):
        errors = [error_on_gaussian(make(n, FINE), Linear()) for n in (50, 200, 1000)]
        assert errors[0] > errors[1] > errors[2] or errors[2] < 1e-7


def error_on_gaussian(sampler, schedule):
    x1 = start(schedule, NOISE[:, :3])
    x0 = sampler(GAUSSIAN.denoiser(schedule), x1, schedule)
    return float((x0 - GAUSSIAN.endpoint(x1, *top(schedule))).abs().max())


class Renormed(Schedule):
    """Another schedule with the same sigma / alpha: a given one divided by a norm of its level."""

    def __init__(self, schedule, norm):
        self.schedule, self.norm_of = schedule, norm

    def level(self, t):
        alpha, sigma = self.schedule.level(t)
        n = self.norm_of(alpha, sigma)
        return Level(alpha / n, sigma / n)

    def slope(self, t):
        raise AssertionError("samplers have no use for slopes")

    norm = slope

    def time(self, log_snr):
        return self.schedule.time(log_snr)


INVARIANT = {
    "euler": Euler, "2s": DPMSolverPP2S, "2m": DPMSolverPP2M, "3m": DPMSolverPP3M, "unipc": UniPC, "adams": AdamsPC,
    "ddpm": DDPM, "2m_sde": DPMSolverPP2MSDE, "ancestral": EulerAncestral, "auto": lambda n, grid: Auto(n),
}


def injected(i):
    """The i-th noise, the same for every schedule."""
    return torch.randn(NOISE.shape, generator=torch.Generator().manual_seed(100 + i), dtype=F64)


@pytest.mark.parametrize("sampler", INVARIANT.values(), ids=INVARIANT)
def test_an_equivalent_schedule_changes_nothing(sampler):
    exploding = VarianceExploding()
    schedules = [exploding, Renormed(exploding, torch.hypot), Renormed(exploding, torch.add)]
    results = []
    for schedule in schedules:
        x1 = NOISE * top(schedule)[1]
        results.append(sampler(12, UniformGrid())(MIXTURE.denoiser(schedule), x1, schedule, injected))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("sampler", INVARIANT.values(), ids=INVARIANT)
def test_schedules_without_signal_at_the_start_are_equivalent_on_a_common_grid(sampler):
    results = []
    for schedule in (Linear(), Cosine(), Shifted(Linear(), 3.0)):
        results.append(sampler(12, KarrasGrid())(MIXTURE.denoiser(schedule), NOISE, schedule, injected))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=1e-9)


def test_heun_is_that_of_edm_in_sigma():
    sigmas = [*VarianceExploding().level(UniformGrid()(VarianceExploding(), 9)).sigma.tolist(), 0.0]
    x = x1 = start(VarianceExploding())
    for sigma, following in itertools.pairwise(sigmas):
        first = (x - MIXTURE.posterior_mean(x, 1.0, sigma)) / sigma
        euler = x + (following - sigma) * first
        if following > 0:
            second = (euler - MIXTURE.posterior_mean(euler, 1.0, following)) / following
            euler = x + (following - sigma) * (first + second) / 2
        x = euler
    ours = Heun(9)(MIXTURE.denoiser(VarianceExploding()), x1, VarianceExploding())
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-9)


def test_heun_and_euler_are_those_of_flow_matching_in_t():
    def velocity(x, t):
        return (x - MIXTURE.posterior_mean(x, 1 - t, t)) / t

    heun = euler = NOISE
    for t, s in itertools.pairwise([i / 8 for i in range(8, -1, -1)]):
        euler = euler + (s - t) * velocity(euler, t)
        first = velocity(heun, t)
        second = velocity(heun + (s - t) * first, s) if s else first
        heun = heun + (s - t) * (first + second) / 2
    for sampler, expected in ((Euler(8), euler), (Heun(8), heun)):
        torch.testing.assert_close(sampler(MIXTURE.denoiser(Linear()), NOISE, Linear()), expected, rtol=0, atol=1e-9)


class ExactNetwork(nn.Module):
    """A network that puts out what its parameterization calls for, from the exact x0."""

    def __init__(self, schedule, parameterization):
        super().__init__()
        self.schedule, self.parameterization = schedule, parameterization

    def forward(self, x, level, cond, mask):
        angle = math.pi / 2 * level[:, None]                          # x comes in at hypot(alpha, sigma) = 1
        t = self.schedule.time(2 * (torch.cos(angle) / torch.sin(angle)).log())
        alpha, sigma = self.schedule.level(t)
        x_t = x * torch.hypot(alpha, sigma)
        x0 = MIXTURE.posterior_mean(x_t, float(alpha[0]), float(sigma[0]))
        eps = (x_t - alpha * x0) / sigma
        return self.parameterization.target(x0, eps, Level(alpha, sigma), self.schedule.slope(t))


@diagonal(sampler=list(INVARIANT), schedule=SCHEDULES)
def test_all_parameterizations_of_one_denoiser_give_one_trajectory(sampler, schedule):
    kinds = [Data(), V(), Velocity(), KarrasOutput()] + ([Noise()] if top(schedule)[0] > 1e-6 else [])
    results = []
    for kind in kinds:
        network = ExactNetwork(schedule, kind)
        denoise = Denoiser(network, schedule, kind).bind()
        results.append(INVARIANT[sampler](10, UniformGrid())(denoise, start(schedule), schedule, injected))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=1e-10)


def test_third_order_of_dpm_solver_uses_the_whole_second_difference():
    """A quadratic in lambda is carried exactly; the rule known as 3M elsewhere keeps half of it."""
    path = trace(VariancePreserving(), FINE, 6)
    lam = [math.log(a / s) for a, s in zip(path.alpha[:-1], path.sigma[:-1], strict=True)]
    row = DPMSolverPP3M(6, FINE).rows(path)[3]
    at = torch.linspace(lam[3], lam[4], 20001, dtype=F64)
    integral = torch.trapezoid(torch.exp(at) * at**2, at) * path.sigma[4]
    weights = row.step[1:]
    assert sum(w * lam[3 - k] ** 2 for k, w in enumerate(weights)) == pytest.approx(float(integral), rel=1e-6)
