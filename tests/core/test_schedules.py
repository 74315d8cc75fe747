import pytest
import torch

from mmdiff.core.schedules import Cosine, Linear, Shifted, Until, VarianceExploding, VariancePreserving
from mmdiff.core.tabulated import ScaledLinear

SCHEDULES = {
    "vp": VariancePreserving(),
    "cosine": Cosine(),
    "ve": VarianceExploding(),
    "linear": Linear(),
    "scaled_linear": ScaledLinear(snr_scale=3.0),
    "scaled_linear_with_signal": ScaledLinear(steps=50, zero_terminal=False),
    "shifted_vp": Shifted(VariancePreserving(), 2.0),
    "shifted_cosine": Shifted(Cosine(), 0.5),
    "shifted_ve": Shifted(VarianceExploding(), 3.0),
    "shifted_linear": Shifted(Linear(), 3.0),
    "cosine_until": Until(Cosine(), 500.0),
    "shifted_linear_until": Until(Shifted(Linear(), 3.0), 80.0),
}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
T = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)


@every_schedule
def test_slope_is_the_derivative_of_the_level(schedule):
    t = T.clone().requires_grad_()
    alpha, sigma = schedule.level(t)
    ones = torch.ones_like(t)
    slope = schedule.slope(T)
    for value, expected in zip((alpha, sigma), slope, strict=True):
        constant = not value.requires_grad
        derivative = 0 * ones if constant else torch.autograd.grad(value, t, ones, retain_graph=True)[0]
        torch.testing.assert_close(expected, derivative, rtol=1e-10, atol=1e-10)


@every_schedule
def test_time_inverts_log_snr(schedule):
    torch.testing.assert_close(schedule.time(schedule.log_snr(T)), T, rtol=0, atol=1e-9)


@every_schedule
def test_time_is_clamped_beyond_the_ends(schedule):
    assert schedule.time(torch.tensor([-1e4, 1e4], dtype=torch.float64)).tolist() == pytest.approx([1, 0], abs=1e-12)


@every_schedule
def test_noise_grows_and_signal_never_does(schedule):
    alpha, sigma = schedule.level(torch.cat([ENDS[:1], T, ENDS[1:]]))
    assert (sigma.diff() > 0).all()
    assert (alpha.diff() <= 0).all()
    assert (schedule.log_snr(T).diff() < 0).all()


@every_schedule
def test_data_end_is_clean_up_to_sigma_min(schedule):
    alpha, sigma = schedule.level(ENDS[:1])
    assert alpha.item() == 1
    ends = {VarianceExploding: 0.004, Shifted: 3 * 0.004}             # all others end at 0 itself
    assert sigma.item() in (0, pytest.approx(ends.get(type(schedule), 0)))


@every_schedule
def test_level_keeps_the_dtype_and_the_shape_of_time(schedule):
    t = torch.rand(2, 3)
    assert all(v.dtype == torch.float32 and v.shape == (2, 3) for v in (*schedule.level(t), *schedule.slope(t)))


@every_schedule
def test_norm_is_one_on_the_schedule_and_its_derivative_zero(schedule):
    n, dn = schedule.norm(schedule.level(T), schedule.slope(T))
    torch.testing.assert_close(n, torch.ones_like(T), rtol=0, atol=1e-12)
    torch.testing.assert_close(dn, torch.zeros_like(T), rtol=0, atol=1e-9)


@pytest.mark.parametrize("schedule", [Cosine(), Linear(), Shifted(Linear(), 3.0)], ids=["cosine", "linear", "shifted"])
def test_no_signal_at_all_at_t_one(schedule):
    alpha, sigma = schedule.level(ENDS[1:])
    assert (alpha.item(), sigma.item()) == (0, 1)
    assert schedule.log_snr(ENDS[1:]).item() == -torch.inf


def test_shifted_linear_is_the_formula_of_stable_diffusion_3():
    alpha, sigma = Shifted(Linear(), 3.0).level(T)
    torch.testing.assert_close(sigma, 3 * T / (1 + 2 * T))
    torch.testing.assert_close(alpha, 1 - sigma)


def test_shift_moves_log_snr_by_a_constant_and_composes():
    once, twice = Shifted(Cosine(), 6.0), Shifted(Shifted(Cosine(), 2.0), 3.0)
    difference = Cosine().log_snr(T) - once.log_snr(T)
    torch.testing.assert_close(difference, torch.full_like(T, 2 * torch.tensor(6.0).log().item()))
    torch.testing.assert_close(once.level(T).sigma, twice.level(T).sigma)


def test_a_schedule_that_is_cut_ends_at_its_ratio_and_has_the_levels_of_the_whole():
    cut = Until(Cosine(), 500.0)
    alpha, sigma = cut.level(ENDS[1:])
    assert sigma.item() / alpha.item() == pytest.approx(500)
    torch.testing.assert_close(cut.level(T), Cosine().level(Cosine().time(cut.log_snr(T))))


def test_variance_preserving_is_the_limit_of_the_ddpm_table():
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    discrete = (1 - beta).log().cumsum(0).mul(0.5)
    continuous = VariancePreserving().level(torch.arange(1, 1001, dtype=torch.float64) / 1000).alpha.log()
    torch.testing.assert_close(continuous, discrete, rtol=0.02, atol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VariancePreserving(20.0, 0.1),
        lambda: VarianceExploding(80.0, 0.002),
        lambda: VarianceExploding(rho=0.5),
        lambda: Shifted(Linear(), 0.0),
        lambda: Until(Linear(), float("inf")),
    ],
)
def test_impossible_values_are_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()


def test_a_table_is_met_at_every_step_and_undone_by_its_index():
    """CogVideoX's: shifted SNR, then no signal at the last step, as its scheduler in diffusers computes it."""
    diffusers = pytest.importorskip("diffusers")
    for scale in (1.0, 3.0):
        theirs = diffusers.CogVideoXDDIMScheduler(rescale_betas_zero_snr=True, snr_shift_scale=scale)
        table, steps = ScaledLinear(snr_scale=scale), torch.arange(1000)
        alpha, sigma = table.level((steps + 1).double() / 1000)
        torch.testing.assert_close(alpha**2, theirs.alphas_cumprod, rtol=1e-10, atol=1e-14)
        index = table.index_of(torch.atan2(sigma, alpha))
        torch.testing.assert_close(index, steps.double(), rtol=0, atol=1e-6)
    assert table.level(torch.ones(1))[0].abs() < 1e-7 and table.index_of(torch.zeros(1)).item() == -1
