import pytest
from torch import nn

from mmdiff.training.ema import Ema


def constant(value):
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, value)
    return module


def test_after_one_half_life_half_of_the_way_is_gone():
    ema = Ema(constant(0.0), half_life=1000, ramp=1e9)
    for step in range(1, 11):
        ema.update(constant(1.0), seen=100 * step, batch=100)
    assert ema.average.weight.item() == pytest.approx(0.5)


def test_the_half_life_is_in_samples_whatever_the_batch():
    values = []
    for batch in (10, 100):
        ema = Ema(constant(0.0), half_life=700, ramp=1e9)
        for step in range(1, 1000 // batch + 1):
            ema.update(constant(1.0), seen=batch * step, batch=batch)
        values.append(ema.average.weight.item())
    assert values[0] == pytest.approx(values[1])


def test_the_ramp_gives_a_power_function_profile():
    ema, steps, ramp = Ema(constant(0.0), ramp=0.06), 4000, 0.06
    for step in range(1, steps + 1):
        ema.update(constant(float(step)), seen=step, batch=1)
    exponent = 0.6931 / ramp                                          # mean of t under weight ~ t^(exponent - 1)
    assert ema.average.weight.item() / steps == pytest.approx(exponent / (exponent + 1), rel=0.01)


def test_the_average_is_saved_with_the_module_and_needs_no_gradient():
    ema = Ema(constant(2.0))
    assert list(ema.state_dict()) == ["average.weight"]
    assert not any(p.requires_grad for p in ema.parameters())


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="half_life and ramp"):
        Ema(constant(0.0), half_life=0)
