import pytest
import torch

from mmdiff.core.schedules import Cosine, Linear, VarianceExploding, VariancePreserving
from mmdiff.core.times import LogitNormal, LogNormalSigma, Stratified, UniformTime

U = (torch.arange(4096, dtype=torch.float64) + 0.5) / 4096


@pytest.mark.parametrize("times", [UniformTime(), LogitNormal(0.3, 0.8), LogNormalSigma(), Stratified(LogitNormal())])
@pytest.mark.parametrize("schedule", [Linear(), Cosine(), VariancePreserving(), VarianceExploding()])
def test_quantiles_rise_and_stay_inside(times, schedule):
    t = times.quantile(U, schedule)
    assert (t.diff() >= 0).all() and t.min() >= 0 and t.max() <= 1


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), VarianceExploding(1e-8, 1e8)])
def test_log_normal_sigma_has_the_stated_moments_on_any_schedule(schedule):
    t = LogNormalSigma(-1.2, 1.2).quantile(U, schedule)
    log_sigma = -schedule.log_snr(t) / 2
    assert log_sigma.mean() == pytest.approx(-1.2, abs=1e-3)
    assert log_sigma.std() == pytest.approx(1.2, abs=5e-3)


def test_edm_sees_unit_data_as_its_paper_sees_data_of_standard_deviation_one_half():
    """log-normal(-1.2, 1.2) and eq. 5, with data and noise both multiplied by 2: the same loss, levels and order."""
    schedule, paper = VarianceExploding(), VarianceExploding(0.002, 80.0)
    snr = 2 * (0.5 / paper.level(U).sigma).log()                      # of data of standard deviation 0.5
    torch.testing.assert_close(schedule.log_snr(U), snr)
    drawn, published = (
        times.quantile(U, schedule) for times, schedule in ((LogNormalSigma(), schedule), (LogNormalSigma(-1.2), paper))
    )
    torch.testing.assert_close(drawn, published, rtol=0, atol=1e-3)


def test_logit_normal_has_the_stated_moments():
    logit = torch.logit(LogitNormal(0.5, 2.0).quantile(U, Linear()))
    assert logit.mean() == pytest.approx(0.5, abs=1e-3) and logit.std() == pytest.approx(2.0, abs=1e-2)


def test_stratified_puts_one_sample_in_each_stratum_whatever_the_rank():
    u = torch.rand(16, dtype=torch.float64)
    whole = Stratified(UniformTime()).draw(u, Linear(), index=torch.arange(16), count=16)
    assert torch.equal((whole * 16).floor(), torch.arange(16.0, dtype=torch.float64))
    second_rank = Stratified(UniformTime()).draw(u[8:], Linear(), index=torch.arange(8, 16), count=16)
    assert torch.equal(whole[8:], second_rank)


@pytest.mark.parametrize("times", [LogitNormal, LogNormalSigma])
def test_a_width_must_be_positive(times):
    with pytest.raises(ValueError, match="std must be positive"):
        times(0.0, 0.0)
