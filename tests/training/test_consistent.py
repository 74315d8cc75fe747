"""What students are taught without paths, where the answer is known: no gradient is left at the exact one."""

import pytest
import torch
from torch import nn

from mmdiff.core.jumps import JumpDenoiser
from mmdiff.core.parameterizations import Data
from mmdiff.core.schedules import Linear
from mmdiff.core.types import Condition, Masked
from mmdiff.data.batch import Batch
from mmdiff.learner import Drawn
from mmdiff.testing import Mixture
from mmdiff.training import consistent
from mmdiff.training.consistent import Consistent, Scratch
from tests.core.test_jumps import FORMULATIONS, ExactNetwork, M, S, Told
from tests.grid import name

MIXTURE = Mixture(*(torch.tensor(part, dtype=torch.float64) for part in (
    [1, 1], [[0.9, 0.0], [-0.9, 0.3]], [[0.3, 0.5], [0.4, 0.3]])))
UNTOLD = 2
"""The number that stands for no class."""


class Exact:
    """As much of a model as an objective asks for: its denoiser is given, and all classes are told."""

    def __init__(self, denoiser):
        self.denoiser, self.conditioner, self.codec, self.given = denoiser, self, self, None

    def to(self, device):
        return self

    def limited(self, x0):
        return x0

    def contrast(self, labels, count):
        return Condition(nn.functional.one_hot(torch.full((count,), UNTOLD), 3).double())

    def drawn_condition(self, drawn):
        return drawn.labels["cond"]

    def denoising_draw(self, batch, seed, *, batch_size):
        generator = torch.Generator().manual_seed(seed)
        eps = torch.randn(batch.samples.x.shape, dtype=torch.float64, generator=generator)
        t = 0.05 + 0.95 * torch.rand(len(batch.draws), dtype=torch.float64, generator=generator)
        return batch._replace(random={"eps": eps, "t": t})

    def drawn(self, batch):
        return Drawn(batch.samples, batch.samples, batch.random["eps"], batch.random["t"], batch.labels, None)


def loss_of(objective, model, batch, batch_size):
    return objective.loss(model, objective.draw(model)(batch, 0, batch_size=batch_size))


def batch(x, cond, first=0):
    return Batch(Masked(x), {"cond": cond}, torch.arange(first, first + len(x)))


def gaussian(count):
    return M + S * torch.randn(count, 2, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("schedule", "parameterization"), FORMULATIONS, ids=name)
@pytest.mark.parametrize("kind", [Consistent, Scratch])
def test_the_exact_map_is_what_is_taught_as_the_denoisers_part_of_the_way_gets_small(schedule, parameterization, kind):
    network = ExactNetwork(schedule, parameterization)
    denoiser = JumpDenoiser(network, schedule, parameterization, embedding=Told(), scales=(1.0, 1.0))
    errors = []
    for least in (1.0, 0.2, 0.02):
        objective, model = kind(still=0.0, least=least), Exact(denoiser)
        objective.steps, objective._teacher = 1, model
        learned = batch(gaussian(256), Condition(), first=256)        # at the end of the run
        errors.append(loss_of(objective, model, learned, 256).mean().item())
    assert errors[0] > 5 * errors[1] > 50 * errors[2] and errors[2] < 2e-4
    begun = loss_of(objective, model, batch(gaussian(256), Condition()), 10**6).mean().item()
    assert begun == pytest.approx(errors[0], rel=0.2)                 # all of the way is the denoiser's


class Guided(nn.Module):
    """The exact denoiser of a mixture, of the class that is told, under guidance by the scale that is told."""

    def forward(self, x, level, cond, mask):
        cond, scale = cond.vector.split([3, 2], 1)
        t = Linear().time(-2 * torch.tan(torch.pi / 2 * level).log())
        alpha, sigma = (v[:, None, None] for v in Linear().level(t))
        x_t = x[:, None, :, 0] * torch.hypot(alpha, sigma)
        v = alpha**2 * MIXTURE.stds**2 + sigma**2
        each = MIXTURE.means + alpha * MIXTURE.stds**2 / v * (x_t - alpha * MIXTURE.means)            # (B, K, 2)
        p = (MIXTURE.weights.log() - (((x_t - alpha * MIXTURE.means) ** 2 / v + v.log()) / 2).sum(-1)).softmax(1)
        every = (p[..., None] * each).sum(1)
        own = torch.where(cond[:, UNTOLD:] == 1, every, (cond[:, :UNTOLD, None] * each).sum(1))
        return (every + scale[:, 1:] * (own - every))[..., None]


class Joined(JumpDenoiser):
    """Tells time and scale beside the class, in place of adding them to it."""

    def output(self, x_t, t, cond=None, mask=None):
        scale = torch.as_tensor(self.scale, dtype=t.dtype).expand(len(t))
        vector = torch.cat([cond.vector, t[:, None], scale[:, None]], 1)
        return self.network(x_t / torch.hypot(*self.levels(t, x_t)[0]), self.level(t), Condition(vector), mask)


def test_at_rest_the_data_teach_the_denoiser_under_guidance_without_bias(monkeypatch):
    """The mean of D* - D is 0 wherever one looks, so that is where the gradient of the loss is 0."""
    count, generator = 60000, torch.Generator().manual_seed(0)
    classes = torch.randint(2, (count,), generator=generator)
    noise = torch.randn(count, 2, dtype=torch.float64, generator=generator)
    x0 = MIXTURE.means[classes] + MIXTURE.stds[classes] * noise
    told = torch.where(torch.rand(count, generator=generator) < 0.2, UNTOLD, classes)
    cond = Condition(nn.functional.one_hot(told, 3).double())
    model = Exact(Joined(Guided(), Linear(), Data(), embedding=nn.Identity()))
    seen = {}

    def loss(denoiser, x_t, x0, t, cond):
        seen.update(error=(x0 - denoiser(x_t.x, t, cond))[..., 0], x_t=x_t.x[..., 0], scale=denoiser.scale)
        return x0.new_zeros(len(x0))

    monkeypatch.setattr(consistent, "jump_loss", loss)
    loss_of(Scratch(still=1.0), model, batch(x0[..., None], cond), count)
    strong = (seen["scale"] > 2)[:, None]
    looks = torch.cat([seen["x_t"], seen["x_t"] * strong, cond.vector, cond.vector * strong], 1)
    products = looks[:, :, None] * seen["error"][:, None]             # (count, looks, 2)
    means, spread = products.mean(0), products.std(0) / count**0.5
    assert (means.abs() < 4.5 * spread).all() and (spread < 0.02).all()
    assert seen["scale"].min() < 1.1 and seen["scale"].max() > 2.9
