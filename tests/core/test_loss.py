import math

import pytest
import torch
from torch import nn

from mmdiff.core.denoiser import Denoiser
from mmdiff.core.loss import DiffusionLoss
from mmdiff.core.parameterizations import Data, Difference, Karras, Noise, V, Velocity
from mmdiff.core.schedules import Cosine, Linear, Shifted, VarianceExploding, VariancePreserving
from mmdiff.core.types import Level, Masked
from mmdiff.core.weightings import EDM, MinSNR, Sigmoid


class Affine(nn.Module):
    """Output a x + b, exact for Gaussian data at one level; counts nothing of the condition."""

    def __init__(self, a=0.0, b=0.0):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(a).double()), nn.Parameter(torch.tensor(b).double())

    def forward(self, x, level, cond, mask):
        return self.a * x + self.b


@pytest.mark.parametrize("parameterization", [Noise(), Data(), V(), Velocity(), Karras(), Difference()])
@pytest.mark.parametrize("weight", [MinSNR(5.0), Sigmoid(0.0)])
def test_the_loss_is_least_at_the_exact_posterior_mean(parameterization, weight):
    schedule, mean, std, t = VariancePreserving(), 0.7, 0.4, torch.full((1,), 0.4, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    x0 = (mean + std * torch.randn(1, 1, 200_000, generator=generator, dtype=torch.float64))
    eps = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    x0 = (x0 - x0.mean()) / x0.std() * std + mean
    network = Affine()
    denoiser, loss = Denoiser(network, schedule, parameterization), DiffusionLoss(weight=weight)
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss(denoiser, Masked(x0), eps=eps, t=t).sum()
        value.backward()
        return value

    optimizer.step(closure)
    alpha, sigma = schedule.level(t)
    x_t = torch.linspace(-1, 2, 7, dtype=torch.float64).reshape(1, 1, -1)
    gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
    exact = mean + gain * (x_t - alpha * mean)
    torch.testing.assert_close(denoiser(x_t, t).detach(), exact, rtol=0, atol=5e-3)


class Blend(nn.Module):
    """A convolution that respects the mask, as every network must."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 3, 3, padding=1)

    def forward(self, x, level, cond, mask):
        x = x * level.reshape(len(x), 1, -1)
        return self.conv(x if mask is None else torch.where(mask, x, 0))


def batch(lengths, total, fill=0.0):
    generator = torch.Generator().manual_seed(1)
    x, eps = torch.randn(2, len(lengths), 3, max(lengths), generator=generator)
    mask = torch.arange(total)[None, None] < torch.tensor(lengths)[:, None, None]
    x, eps = (torch.nn.functional.pad(v, (0, total - max(lengths))) for v in (x, eps))
    return torch.where(mask, x, fill), torch.where(mask, eps, fill), mask


@pytest.mark.parametrize("fill", [0.0, 1e4, math.nan])
def test_padding_changes_no_samples_loss_whatever_it_holds(fill):
    torch.manual_seed(0)
    denoiser, loss = Denoiser(Blend(), Linear(), Velocity()), DiffusionLoss()
    t = torch.tensor([0.3, 0.8])
    x, eps, mask = batch([7, 12], 20, fill)
    padded = loss(denoiser, Masked(x, mask), eps=eps, t=t)
    for i, length in enumerate([7, 12]):
        alone = loss(denoiser, Masked(x[i : i + 1, :, :length]), eps=eps[i : i + 1, :, :length], t=t[i : i + 1])
        assert padded[i].item() == pytest.approx(alone.item(), rel=1e-5)
    gradient = torch.autograd.grad(padded.sum(), denoiser.parameters())
    assert all(g.isfinite().all() for g in gradient)


def test_a_given_frame_has_no_loss():
    denoiser, loss = Denoiser(Affine().float(), Linear(), Velocity()), DiffusionLoss()
    x, eps = torch.randn(2, 1, 3, 5)
    t = torch.tensor([[0.0, 0.5, 0.5, 0.5, 0.0]])
    x0 = x[None] if x.ndim == 2 else x
    first = loss(denoiser, Masked(x0), eps=eps.reshape(x0.shape), t=t)
    changed = x0.clone()
    changed[..., 0] += 10
    assert torch.equal(first, loss(denoiser, Masked(changed), eps=eps.reshape(x0.shape), t=t))


def test_noise_prediction_is_refused_at_zero_terminal_snr():
    for schedule in (Linear(), Cosine()):
        with pytest.raises(ValueError, match="Use V, Velocity"):
            Denoiser(Affine(), schedule, Noise())


@pytest.mark.parametrize("parameterization", [Data(), V(), Velocity(), Karras(), Difference()])
@pytest.mark.parametrize("weight", [None, MinSNR(5.0), Sigmoid(0.0)])
def test_given_frames_are_shown_as_they_are_and_have_no_loss(parameterization, weight):
    x0, eps = torch.randn(2, 3, 6, 2), torch.randn(2, 3, 6, 2)
    t = torch.full((2, 6), 0.6)
    t[:, :2] = 0
    seen = []

    class Watch(Affine):
        def forward(self, x, level, cond, mask):
            seen.append((x, level))
            return super().forward(x, level, cond, mask).float()

    denoiser = Denoiser(Watch(0.3, 0.1), Linear(), parameterization)
    loss = DiffusionLoss(weight=weight)(denoiser, Masked(x0), eps=eps, t=t)
    x, level = seen[0]
    torch.testing.assert_close(x[:, :, :2], x0[:, :, :2])
    assert (level[:, :2] == 0).all() and (level[:, 2:] > 0).all()
    alone = DiffusionLoss(weight=weight)(denoiser, Masked(x0[:, :, 2:]), eps=eps[:, :, 2:], t=t[:, 2:])
    torch.testing.assert_close(loss, alone)
    loss.sum().backward()
    assert denoiser.network.a.grad.isfinite()


class Root(Linear):
    """A schedule of somebody else, whose slope is infinite where nothing is noise."""

    def slope(self, t):
        return Level(-torch.ones_like(t), 1 / t)


SCHEDULES = [
    VariancePreserving(), Cosine(), VarianceExploding(), Linear(), Root(), Shifted(VariancePreserving(), 3.0),
    Shifted(Cosine(), 0.3),
]
LEAST = 2.0**-54
"""The earliest time that training draws."""


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("parameterization", [Noise(), Data(), V(), Velocity(), Karras(), Difference()])
@pytest.mark.parametrize("weight", [None, MinSNR(5.0), Sigmoid(0.0), EDM()])
def test_loss_and_gradients_are_finite_at_every_level_whatever_is_given(schedule, parameterization, weight):
    try:
        denoiser = Denoiser(Blend(), schedule, parameterization)
    except ValueError:
        pytest.skip("refused: nothing to learn at t = 1")
    x0, eps = torch.randn(2, 4, 3, 6, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([1.0, 0.5, 1e-3, LEAST])
    frames = times[:, None].repeat(1, 6)
    frames[:, [0, 3]] = 0
    frames[3, :5] = 0
    for t in (times, frames, torch.zeros(4), torch.zeros(4, 6)):
        for mask in (None, torch.arange(6)[None, None] < torch.tensor([6, 4, 1, 6])[:, None, None]):
            loss = DiffusionLoss(weight=weight)(denoiser, Masked(x0, mask), eps=eps, t=t)
            gradients = torch.autograd.grad(loss.sum(), denoiser.parameters())
            assert loss.isfinite().all() and all(g.isfinite().all() for g in gradients)
