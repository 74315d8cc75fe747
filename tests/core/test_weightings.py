import pytest
import torch

from mmdiff.core.parameterizations import Data, Difference, Karras, Noise, V, Velocity
from mmdiff.core.schedules import Cosine, Linear, VarianceExploding, VariancePreserving
from mmdiff.core.weightings import EDM, MinSNR, Sigmoid, UniformWeight

T = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
SCHEDULES = [Linear(), Cosine(), VariancePreserving(), VarianceExploding()]
PARAMETERIZATIONS = [Noise(), Data(), V(), Velocity(), Karras(), Difference()]


def parts(schedule, t=T):
    level, slope = schedule.level(t), schedule.slope(t)
    return level, slope, (level.alpha / level.sigma) ** 2


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("weighting", [MinSNR(5.0), Sigmoid(-2.0), EDM()])
def test_a_weighting_is_one_loss_on_x0_whatever_the_network_predicts(schedule, weighting):
    level, slope, _ = parts(schedule)
    x0, eps, error = torch.randn(3, len(T), dtype=torch.float64)
    x_t = level.alpha * x0 + level.sigma * eps
    losses = []
    for p in PARAMETERIZATIONS:
        output = p.target(x0, eps, level, slope) + error
        x0_error = p.denoised(x_t, output, level, slope) - x0
        losses.append(weighting.output(p, level, slope) * error**2 / x0_error**2)
    for loss in losses[1:]:
        torch.testing.assert_close(loss, losses[0], rtol=1e-9, atol=0)


def test_weights_on_x0_are_those_of_the_papers():
    level, slope, snr = parts(VariancePreserving())
    on_x0 = {w: w.output(Data(), level, slope) for w in (MinSNR(5.0), Sigmoid(1.5), EDM())}
    minsnr, sigmoid, edm = on_x0.values()
    torch.testing.assert_close(minsnr, snr.clamp(max=5.0))
    torch.testing.assert_close(sigmoid, snr * torch.sigmoid(1.5 - snr.log()))
    torch.testing.assert_close(edm, 1 + snr)


def test_min_snr_on_eps_and_v_is_the_known_formula():
    level, slope, snr = parts(VariancePreserving())
    torch.testing.assert_close(MinSNR(5.0).output(Noise(), level, slope), snr.clamp(max=5.0) / snr)
    torch.testing.assert_close(MinSNR(5.0).output(V(), level, slope), snr.clamp(max=5.0) / (snr + 1))


@pytest.mark.parametrize("schedule", [Linear(), Cosine()])
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("weighting", [MinSNR(5.0), Sigmoid(0.0), EDM(), UniformWeight()])
def test_weights_are_finite_at_both_ends(schedule, parameterization, weighting):
    for dtype in (torch.float32, torch.float64):
        level, slope, _ = parts(schedule, torch.tensor([1e-6, 1.0], dtype=dtype))
        weight = weighting.output(parameterization, level, slope)
        at_noise = weight[1]
        assert at_noise.isfinite() or (isinstance(weighting, EDM) and isinstance(parameterization, Noise))
        assert weight[0].isfinite() and (weight >= 0).all()


def test_min_snr_at_zero_terminal_snr():
    level, slope, _ = parts(Cosine(), torch.ones(1, dtype=torch.float64))
    assert MinSNR(5.0).output(V(), level, slope).item() == pytest.approx(0, abs=1e-12)
    assert MinSNR(5.0).output(Noise(), level, slope).item() == pytest.approx(1)


def test_edm_is_uniform_on_the_karras_output():
    level, slope, _ = parts(VarianceExploding())
    torch.testing.assert_close(EDM().output(Karras(), level, slope), torch.ones_like(T))
