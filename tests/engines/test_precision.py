"""Low precision keeps to the blocks of a network, to its size and to what it computes, as far as its digits go."""

import pytest
import torch

from mmdiff.core.types import Condition
from mmdiff.engines.precision import Float32, Fp8, Half, Int8, layers
from mmdiff.nn.dit1d import DiT1d
from mmdiff.nn.network import blocks
from mmdiff.nn.unet1d import UNet1d

MAKE = {
    "unet": lambda: UNet1d(6, 5, base=16, multipliers=(1, 2), heads=2),
    "dit": lambda: DiT1d(6, 5, dim=32, depth=2, heads=2),
}
ROUNDING = {Half("bfloat16"): 0.02, Half("float16"): 0.003, Int8(): 0.02, Int8(activations=True): 0.03}


@pytest.fixture(params=MAKE)
def network(request):
    torch.manual_seed(0)
    made = MAKE[request.param]().eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def given():
    torch.manual_seed(1)
    return torch.randn(2, 6, 20), torch.rand(2), Condition(torch.randn(2, 5))


def size(network):
    return sum(t.numel() * t.element_size() for t in network.state_dict().values())


@pytest.mark.parametrize("precision", ROUNDING, ids=lambda precision: precision.name)
def test_the_output_is_that_of_float32_up_to_rounding_and_the_network_itself_stays(network, precision):
    before, exact = {k: v.clone() for k, v in network.state_dict().items()}, network(*given())
    out = precision(network)(*given()).float()
    error = (out - exact).norm() / exact.norm()
    assert 0 < error < ROUNDING[precision]
    assert all(v.equal(before[k]) for k, v in network.state_dict().items()) and network(*given()).equal(exact)


def test_int8_is_within_half_a_step_of_every_weight_and_a_row_of_zeros_stays_one(network):
    layer = next(layers(network))
    layer.weight[0] = 0
    low = next(layers(Int8()(network))).weight
    step = layer.weight.abs().flatten(1).amax(1) / 127
    assert ((low - layer.weight).abs().flatten(1).amax(1) <= step / 2 * (1 + 1e-5)).all() and (low[0] == 0).all()


@pytest.mark.parametrize(("precision", "share"), [(Half(), 2), (Int8(), 4)])
def test_weights_of_blocks_take_a_half_or_a_quarter_and_others_stay_as_they_are(network, precision, share):
    inside = {id(p) for block in blocks(network) for p in block.parameters()}
    weights = sum(4 * layer.weight.numel() for layer in layers(network))
    low = precision(network)
    assert size(network) - size(low) > 0.8 * weights * (1 - 1 / share)
    kept = {name: p for name, p in network.named_parameters() if id(p) not in inside}
    assert kept and all(p.equal(low.state_dict()[name]) and p.dtype == torch.float32 for name, p in kept.items())


def test_full_precision_is_the_network_itself(network):
    assert Float32()(network) is network


def test_a_network_without_blocks_is_refused():
    with pytest.raises(ValueError, match="Linear has no blocks: take fp32"):
        Int8()(torch.nn.Linear(2, 2))


def test_a_device_without_float8_says_so():
    assert "does not multiply float8" in Fp8().obstacle(torch.device("cpu"))
