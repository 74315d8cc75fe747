"""Jumps: on Gaussian data the map from any time to any earlier one is known, and with it all that follows from it."""

import itertools
import math

import pytest
import torch
from torch import nn

from mmdiff.core.denoiser import Denoiser
from mmdiff.core.editing import Inpaint, Windowed
from mmdiff.core.guidance import Autoguidance, ClassifierFree, Distilled, Unguided
from mmdiff.core.jumps import JumpDenoiser, arrow, blend, guided, jump, jump_loss
from mmdiff.core.parameterizations import Data, Karras, Noise, V, Velocity
from mmdiff.core.samplers import Auto, Jump
from mmdiff.core.schedules import Cosine, Linear, Shifted, VarianceExploding, VariancePreserving
from mmdiff.core.types import Condition, Level, Masked
from mmdiff.nn.jumps import JumpEmbedding
from mmdiff.nn.unet1d import UNet1d
from mmdiff.testing import Gaussian
from tests.grid import name

SCHEDULES = [Linear(), Cosine(), VariancePreserving(), VarianceExploding(), Shifted(Linear(), 3.0)]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
FORMULATIONS = [
    (VariancePreserving(), Noise()), (Cosine(), V()), (VarianceExploding(), Karras()), (Linear(), Velocity()),
    (Shifted(Linear(), 3.0), Data()),
]
M, S = torch.tensor([0.5, -1.0], dtype=torch.float64)[:, None], torch.tensor([0.8, 0.3], dtype=torch.float64)[:, None]
CLEAN = Level(torch.ones(()).double(), torch.zeros(()).double())


def moved(x, start, end, mean=M):
    """The exact map of x (B, 2, 1) along the sampling path of N(M, S^2)."""
    spread = [(level.alpha**2 * S**2 + level.sigma**2).sqrt() for level in (start, end)]
    return end.alpha * mean + spread[1] / spread[0] * (x - start.alpha * mean)


class ExactNetwork(nn.Module):
    """The network that knows that map, for the jump and the scale (by which M is multiplied) that it is told."""

    def __init__(self, schedule, parameterization):
        super().__init__()
        self.schedule, self.parameterization, self.told, self.jumps = schedule, parameterization, [], True

    def forward(self, x, level, cond, mask):
        self.told.append((level, cond.vector[:, 0], cond.vector[:, 1]))
        (t, r), scale = (self.time(part) for part in (level, cond.vector[:, 0])), cond.vector[:, 1, None, None]
        start, slope, end = (Level(*(v[:, None, None] for v in part)) for part in (
            self.schedule.level(t), self.schedule.slope(t), self.schedule.level(r)))
        x_t, still = x * torch.hypot(*start), ((r >= t) | (not self.jumps))[:, None, None]
        gain = start.alpha * S**2 / (start.alpha**2 * S**2 + start.sigma**2)
        denoised = scale * M + gain * (x_t - start.alpha * scale * M)
        end = Level(*(torch.where((r == 0)[:, None, None], v, w) for v, w in zip(CLEAN, end, strict=True)))
        x0 = torch.where(still, denoised, arrow(x_t, moved(x_t, start, end, scale * M), start, end))
        return self.parameterization.target(x0, (x_t - start.alpha * x0) / start.sigma, start, slope)

    def time(self, level):
        return self.schedule.time(-2 * torch.tan(math.pi / 2 * level).log())


class Told(nn.Module):
    def forward(self, level, scale):
        return torch.stack([level, scale], -1)


def exact(schedule, parameterization):
    network = ExactNetwork(schedule, parameterization)
    return JumpDenoiser(network, schedule, parameterization, embedding=Told())


def start(schedule, n=64):
    x = torch.randn(n, 2, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return x * float(torch.hypot(*schedule.level(torch.ones((), dtype=torch.float64))))


def levels(schedule, *times):
    return [schedule.level(torch.tensor(t, dtype=torch.float64)) for t in times]


@every_schedule
def test_arrow_is_the_inverse_of_jump_and_a_jump_in_two_parts_is_the_whole_one(schedule):
    x_t = start(schedule, 8)
    for times in ((1.0, 0.6, 0.2), (0.9, 0.5, 0.01), (0.3, 0.2, 0.1)):
        t, s, r = levels(schedule, *times)
        x_s, x_r = moved(x_t, t, s), moved(x_t, t, r)
        whole, first, second = arrow(x_t, x_r, t, r), arrow(x_t, x_s, t, s), arrow(x_s, x_r, s, r)
        torch.testing.assert_close(jump(x_t, whole, t, r), x_r, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(jump(jump(x_t, first, t, s), second, s, r), x_r, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(torch.lerp(second, first, blend(t, s, r)), whole, rtol=1e-7, atol=1e-7)


@every_schedule
def test_the_x0_of_a_jump_tends_to_that_of_the_denoiser_as_it_gets_shorter(schedule):
    x_t, (t,) = start(schedule, 8), levels(schedule, 0.6)
    gain = t.alpha * S**2 / (t.alpha**2 * S**2 + t.sigma**2)
    expected = M + gain * (x_t - t.alpha * M)
    errors = [(arrow(x_t, moved(x_t, t, r), t, r) - expected).abs().max().item()
              for r in levels(schedule, 0.5, 0.55, 0.575)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.4 * errors[0]


@pytest.mark.parametrize(("schedule", "parameterization"), FORMULATIONS, ids=name)
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_one_two_and_four_calls_of_the_exact_network_reach_the_exact_end_with_guidance_within(
    schedule, parameterization, scale
):
    x1, t1 = start(schedule), levels(schedule, 1.0)[0]
    for steps in (1, 2, 4):
        denoiser, sampler = exact(schedule, parameterization), Jump(steps)
        aimed = denoiser.aimed(ends=sampler.ends(schedule))
        denoise = Distilled(scale)(aimed, Condition(), null=Condition())
        x0 = sampler(denoise, x1, schedule)
        torch.testing.assert_close(x0, moved(x1, t1, CLEAN, scale * M), rtol=1e-5, atol=1e-5)
        assert len(denoiser.network.told) == sampler.calls == steps
        assert all(len(level) == len(x1) for level, _, _ in denoiser.network.told)
        begins, ends = ([float(call[k][0]) for call in denoiser.network.told] for k in (0, 1))
        assert ends[:-1] == begins[1:] and ends[-1] == float(denoiser.level(torch.zeros(1).double()))


@pytest.mark.parametrize(("schedule", "parameterization"), FORMULATIONS, ids=name)
def test_the_loss_of_the_exact_map_is_zero_and_no_other_networks_is(schedule, parameterization):
    denoiser = exact(schedule, parameterization)
    t, r = torch.tensor([1.0, 0.7, 0.5, 0.2]).double(), torch.tensor([0.5, 0.3, 0.1, 0.05]).double()
    if schedule.level(t).alpha[0] == 0 and isinstance(parameterization, Noise):
        t[0] = 0.9
    begin, end = (Level(*(v[:, None, None] for v in schedule.level(at))) for at in (t, r))
    x_t = start(schedule, 4) * torch.hypot(*begin) / torch.hypot(*levels(schedule, 1.0)[0])
    target = arrow(x_t, moved(x_t, begin, end), begin, end)
    aimed = denoiser.aimed(ends=lambda _: r)
    assert (jump_loss(aimed, Masked(x_t), target, t, Condition()) < 1e-10).all()
    assert (jump_loss(aimed, Masked(x_t), target + 0.1, t, Condition()) > 5e-3).all()


@every_schedule
def test_what_is_drawn_anew_keeps_the_distribution_at_every_node(schedule):
    for renoise in (0.3, 1.0):
        sampler, denoiser = Jump(3, renoise=renoise), exact(schedule, Data())
        denoise, seen = denoiser.aimed(ends=sampler.ends(schedule)).bind(), []

        def watched(x, t, denoise=denoise, seen=seen):
            seen.append((x, schedule.level(t[0])))
            return denoise(x, t)

        basis = torch.eye(4, dtype=torch.float64)                     # x1 and three injections, as coordinates
        base = levels(schedule, 1.0)[0]
        spread, mean = (base.alpha**2 * S**2 + base.sigma**2).sqrt(), base.alpha * M
        def noise(i, basis=basis):
            return basis[i + 1][:, None, None].expand(4, 2, 1)

        sampler(watched, mean + spread * basis[0][:, None, None], schedule, noise)
        for x, level in seen:                                         # x is affine in them: squares add up
            expected = level.alpha**2 * S**2 + level.sigma**2
            torch.testing.assert_close(((x - level.alpha * M) ** 2).sum(0), expected, rtol=1e-4, atol=1e-6)


def student(**options):
    torch.manual_seed(0)
    network = UNet1d(2, 5, base=8, multipliers=(1, 2), **options)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    denoiser = JumpDenoiser(network, Linear(), Velocity(), embedding=JumpEmbedding(5))
    return denoiser.eval()


COND, NULL = Condition(torch.randn(3, 5)), Condition(torch.zeros(3, 5))
X, T = torch.randn(3, 2, 12), torch.tensor([1.0, 0.5, 0.1])


def test_before_training_a_student_is_its_teacher_bit_for_bit_wherever_it_jumps_to():
    denoiser = student()
    teacher = Denoiser(denoiser.network, Linear(), Velocity())(X, T, COND)
    assert torch.equal(denoiser(X, T, COND), teacher)
    assert torch.equal(denoiser.aimed(ends=torch.zeros_like, scale=3.0)(X, T, COND), teacher)


def test_a_trained_student_hears_where_it_jumps_to_and_its_scale():
    denoiser = student()
    nn.init.normal_(denoiser.embedding.mlp[2].weight)
    plain = denoiser(X, T, COND)
    assert torch.equal(denoiser.aimed(ends=lambda t: t, scale=1.0)(X, T, COND), plain)
    for aim in ({"ends": torch.zeros_like}, {"scale": 2.0}, {"scale": torch.tensor([2.0, 3.0, 1.5])}):
        assert not torch.allclose(denoiser.aimed(**aim)(X, T, COND), plain)
    assert torch.equal(denoiser(X, T, COND), plain)                   # aiming gives another one
    assert torch.equal(guided(denoiser, COND, NULL, torch.full((3,), 2.0))(X, T), denoiser.aimed(scale=2.0)(X, T, COND))


def test_guidance_by_a_scale_for_each_sample_is_that_of_each_scale():
    teacher = Denoiser(student().network, Linear(), Velocity())
    found = guided(teacher, COND, NULL, torch.tensor([1.0, 2.0, 3.0]))(X, T)
    for i, scale in enumerate((1.0, 2.0, 3.0)):
        alone = ClassifierFree(scale)(teacher, COND, null=NULL)(X, T)
        torch.testing.assert_close(found[i], alone[i], rtol=1e-4, atol=1e-5)


def test_windows_and_given_parts_wrap_jumps_as_they_wrap_any_denoiser():
    denoiser, sampler = student(), Jump(2)
    nn.init.normal_(denoiser.embedding.mlp[2].weight)
    aimed = denoiser.aimed(ends=sampler.ends(Linear()))
    known = torch.zeros(3, 1, 12, dtype=torch.bool)
    known[..., :4] = True
    x0 = sampler(Inpaint(aimed.bind(COND), X, known), torch.randn(3, 2, 12), Linear())
    torch.testing.assert_close(x0[..., :4], X[..., :4])
    long = torch.randn(3, 2, 30)
    windows = Windowed(lambda: aimed.bind(COND), size=12, overlap=4)(long, torch.ones(3))
    torch.testing.assert_close(windows[..., :6], aimed(long[..., :12], torch.ones(3), COND)[..., :6])


def test_what_a_model_did_not_learn_is_refused_by_name():
    denoiser = student()
    with pytest.raises(ValueError, match=r"guidance scales from 1 to 3 \(diffusion.jumps\), got guidance.scale=4"):
        Distilled(4.0)(denoiser, COND, null=NULL)
    with pytest.raises(ValueError, match="guidance=distilled is for a model that learned jumps"):
        Distilled(2.0)(Denoiser(denoiser.network, Linear(), Velocity()), COND, null=NULL)
    with pytest.raises(ValueError, match="takes none, as nothing is told"):
        JumpEmbedding(0)
    with pytest.raises(ValueError, match="scales from 1 on"):
        JumpDenoiser(denoiser.network, Linear(), Velocity(), embedding=denoiser.embedding, scales=(0.5, 2.0))
    with pytest.raises(ValueError, match="renoise is the share"):
        Jump(2, renoise=1.5)
    assert Unguided()(denoiser, COND, null=NULL)(X, T).isfinite().all() and Auto().ends(Linear()) is None


def test_autoguidance_contrasts_the_same_jump_of_both():
    strong, weak = student(), student()
    for denoiser in (strong, weak):
        nn.init.normal_(denoiser.embedding.mlp[2].weight)
    nn.init.normal_(next(weak.network.parameters()))
    aimed, far = strong.aimed(ends=torch.zeros_like), weak.aimed(ends=torch.zeros_like)
    found = Autoguidance(weak, scale=2.0)(aimed, COND, null=NULL)(X, T)
    torch.testing.assert_close(found, torch.lerp(far(X, T, COND), aimed(X, T, COND), 2.0))
    plain = Denoiser(weak.network, Linear(), Velocity())
    with pytest.raises(ValueError, match="the weak one learned none"):
        Autoguidance(plain, scale=2.0)(aimed, COND, null=NULL)
    assert Autoguidance(plain, scale=2.0)(strong, COND, null=NULL)(X, T).isfinite().all()


def test_a_small_network_learns_the_map_of_gaussian_data_and_guidance_within():
    """The error of 1 and 2 calls is a fraction of that of as many calls of the exact denoiser."""
    torch.manual_seed(0)
    schedule, mean, std = Linear(), M.float(), S.float()

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            widths = [nn.Linear(2 + 1 + 8, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)]
            self.layers = nn.Sequential(*widths)

        def forward(self, x, level, cond, mask):
            return self.layers(torch.cat([x[..., 0], level[:, None], cond.vector], 1))[..., None]

    denoiser = JumpDenoiser(Small(), schedule, Velocity(), embedding=JumpEmbedding(8))
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=4e-3)
    lr = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)
    for _ in range(500):
        t = torch.where(torch.rand(256) < 0.4, 1, torch.rand(256))
        r = torch.where(torch.rand(256) < 0.4, 0, t * torch.rand(256))
        w = 1 + 2 * torch.rand(256)
        begin, end = (Level(*(v[:, None, None] for v in schedule.level(at))) for at in (t, r))
        own = w[:, None, None] * mean
        x_t = begin.alpha * own + (begin.alpha**2 * std**2 + begin.sigma**2).sqrt() * torch.randn(256, 2, 1)
        spread = [(v.alpha**2 * std**2 + v.sigma**2).sqrt() for v in (begin, end)]
        x_r = end.alpha * own + spread[1] / spread[0] * (x_t - begin.alpha * own)
        aimed = denoiser.aimed(ends=lambda _, r=r: r, scale=w)
        loss = jump_loss(aimed, Masked(x_t), arrow(x_t, x_r, begin, end), t, Condition()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lr.step()
    x1 = start(schedule, 256).float()
    for scale, steps in itertools.product((1.0, 2.0), (1, 2, 4)):
        wanted = moved(x1.double(), levels(schedule, 1.0)[0], CLEAN, scale * M).float()
        teacher = Gaussian(scale * M[:, 0], S[:, 0]).denoiser(schedule)
        sampler = Jump(steps)
        with torch.no_grad():
            denoise = Distilled(scale)(denoiser.aimed(ends=sampler.ends(schedule)), Condition(), null=Condition())
            error = (sampler(denoise, x1, schedule) - wanted).square().mean().sqrt()
        plain = Auto(steps)(lambda x, t, f=teacher: f(x[..., 0], t)[..., None], x1, schedule)
        assert error < 0.1 and (steps > 2 or error < 0.5 * (plain - wanted).square().mean().sqrt())
