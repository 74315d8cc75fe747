"""The law of students of paths: of noise they make a mixture, in 1, 2 and 4 calls, to near what samples can tell."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmdiff.cache.paths import SCALE
from mmdiff.core.jumps import JumpDenoiser
from mmdiff.core.parameterizations import Velocity
from mmdiff.core.samplers import Auto, Jump
from mmdiff.core.schedules import Linear
from mmdiff.core.types import Condition, Masked
from mmdiff.data.batch import Batch
from mmdiff.nn.jumps import JumpEmbedding
from mmdiff.testing import Mixture
from mmdiff.training.few import PathDraw, Paths
from tests.core.test_jumps import FORMULATIONS, ExactNetwork, Told, start
from tests.grid import name

MIXTURE = Mixture(*(torch.tensor(part) for part in (
    [1.0, 2.0, 1.0], [[1.2, 0.0], [-0.6, 1.0], [-0.6, -1.0]], [[0.2, 0.4], [0.3, 0.2], [0.2, 0.2]])))
CALLS, STEPS, COUNT = 8, 900, 4000
TEACHER = MIXTURE.denoiser(Linear())


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [nn.Linear(2 + 1 + 8, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2)]
        self.layers = nn.Sequential(*widths)

    def forward(self, x, level, cond, mask):
        return self.layers(torch.cat([x[..., 0], level[:, None], cond.vector], 1))[..., None]


def noise(count, seed):
    return torch.randn(count, 2, 1, generator=torch.Generator().manual_seed(seed))


def denoise(x_t, t):
    return TEACHER(x_t[..., 0], t)[..., None]


def paths(x1):
    """As they are kept: the noise and what the exact denoiser says at each call, along the channels."""
    said = [x1]

    def watched(x_t, t):
        said.append(denoise(x_t, t))
        return said[-1]

    Auto(CALLS)(watched, x1, Linear())
    return torch.cat(said, 1)


def exact(count, seed):
    """Samples of the mixture itself."""
    generator = torch.Generator().manual_seed(seed)
    k = torch.multinomial(MIXTURE.weights, count, replacement=True, generator=generator)
    return MIXTURE.means[k] + MIXTURE.stds[k] * torch.randn(count, 2, generator=generator)


def sliced(x, y):
    """Sliced W2 of two sets of as many samples ``(n, 2)``."""
    angle = torch.arange(32) * torch.pi / 32
    sides = torch.stack([angle.cos(), angle.sin()])
    return ((x @ sides).sort(0).values - (y @ sides).sort(0).values).square().mean().sqrt().item()


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    denoiser = JumpDenoiser(Small(), Linear(), Velocity(), embedding=JumpEmbedding(8), scales=(1.0, 1.0))
    model = SimpleNamespace(denoiser=denoiser, conditioner=lambda labels: Condition(),
                            codec=SimpleNamespace(limited=lambda x0: x0))
    objective, kept = Paths(calls=CALLS), paths(noise(8192, 1))
    draw = objective.draw(model)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=5e-3)
    lr = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        chosen = torch.randint(len(kept), (256,), generator=torch.Generator().manual_seed(step))
        draws = torch.arange(step * 256, (step + 1) * 256)
        batch = Batch(Masked(kept[chosen]), {SCALE: torch.ones(256)}, draws)
        optimizer.zero_grad()
        objective.loss(model, draw(batch, 0, batch_size=256)).mean().backward()
        optimizer.step()
        lr.step()
    return denoiser.eval()


@pytest.mark.parametrize(("schedule", "parameterization"), FORMULATIONS, ids=name)
def test_of_paths_of_an_exact_denoiser_the_exact_network_of_every_formulation_has_next_to_nothing_to_learn(
    schedule, parameterization
):
    calls, network = 32, ExactNetwork(schedule, parameterization)
    denoiser = JumpDenoiser(network, schedule, parameterization, embedding=Told(), scales=(1.0, 1.0))
    model = SimpleNamespace(denoiser=denoiser, conditioner=lambda labels: Condition(),
                            codec=SimpleNamespace(limited=lambda x0: x0))
    said, objective = [start(schedule, 256)], Paths(calls=calls)

    def watched(x_t, t):
        said.append(denoiser(x_t, t))
        return said[-1]

    Auto(calls)(watched, said[0], schedule)
    kept, draws = torch.cat(said, 1), torch.arange(256)
    batch = objective.draw(model)(Batch(Masked(kept), {SCALE: torch.ones(256)}, draws), 0, batch_size=256)
    loss = objective.loss(model, batch).mean()
    network.jumps = False                                             # what does not hear where it jumps to
    assert loss < 1e-4 * objective.loss(model, batch).mean()


def test_jumps_that_are_learned_are_the_steps_of_one_two_and_four_calls_and_few_others():
    times = torch.cat([Auto(CALLS).grid(Linear(), CALLS), torch.zeros(1).double()])
    asked = set()
    for calls in (1, 2, 4):
        nodes = torch.cat([Jump(calls).grid(Linear(), calls), torch.zeros(1).double()])
        at = [int((times - t).abs().argmin()) for t in nodes]
        torch.testing.assert_close(times[at], nodes)
        asked |= {*itertools.pairwise(at)}
    u = torch.rand(4000, 5, generator=torch.Generator().manual_seed(0))
    begin, end = PathDraw(CALLS, free=0.0, still=0.0).nodes(u)
    assert {*zip(begin.tolist(), end.tolist(), strict=True)} == asked
    begin, end = PathDraw(4, free=0.0, still=0.0).nodes(u)
    assert {*zip(begin.tolist(), end.tolist(), strict=True)} == {
        (0, 4), (0, 2), (2, 4), *((i, i + 1) for i in range(4))}
    begin, end = PathDraw(CALLS, free=0.3, still=0.2).nodes(u)
    assert abs((begin == end).float().mean() - 0.2) < 0.02
    assert {*zip(begin.tolist(), end.tolist(), strict=True)} >= {(i, j) for i in range(8) for j in range(i + 1, 9)}


def test_one_two_and_four_calls_make_the_mixture_to_near_what_samples_can_tell(student):
    real, x1 = exact(COUNT, 2), noise(COUNT, 3)
    floor = sum(sliced(real, exact(COUNT, seed)) for seed in range(4, 8)) / 4
    for calls in (1, 2, 4):
        sampler = Jump(calls)
        with torch.no_grad():
            found = sampler(student.aimed(ends=sampler.ends(Linear())).bind(), x1, Linear())[..., 0]
        teacher = Auto(calls)(denoise, x1, Linear())[..., 0]
        assert sliced(found, real) < 4 * floor
        assert calls > 2 or sliced(found, real) < 0.8 * sliced(teacher, real)
