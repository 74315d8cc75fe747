"""Weights in 8 bits stay as they are, let gradients through, and take changes as any weight does."""

import copy

import pytest
import torch
from torch import nn

from mmdiff.nn import lora, rows


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(32, 48), nn.GELU(), nn.Linear(48, 32)) for _ in range(2))

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return Net().requires_grad_(False)


@pytest.fixture
def low(plain):
    return rows.quantize(copy.deepcopy(plain))


def expanded(low):
    """The same weights, each in floats."""
    made = Net().requires_grad_(False)
    for layer, own in zip(rows.layers(low), rows.layers(made), strict=True):
        own.weight.copy_(rows.weight(layer)), own.bias.copy_(layer.bias)
    return made


def test_output_and_gradient_are_those_of_the_weights_that_are_meant_and_no_weight_is_kept_in_floats(plain, low):
    x, kept = torch.randn(5, 32, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        out = low(x)
    assert not [t for t in kept if t.shape in ((32, 48), (48, 32)) and t.dtype != torch.int8]
    other = x.detach().clone().requires_grad_()
    expected = expanded(low)(other)
    assert torch.equal(out, expected) and torch.equal(low(x.detach()), expected)
    out.sum().backward(), expected.sum().backward()
    assert torch.equal(x.grad, other.grad)
    assert 0 < (out - plain(x)).norm() / plain(x).norm() < 0.01


def test_weights_of_16_bits_are_within_half_a_step_and_take_half_the_memory():
    layer = nn.Linear(64, 64).to(torch.bfloat16)
    before = layer.weight.detach().clone()
    rows.quantize(nn.ModuleList([layer]))
    step = before.float().abs().amax(1, keepdim=True) / 127
    whole = layer.parametrizations.weight.original0
    assert whole.dtype == torch.int8 and layer.weight.dtype == torch.bfloat16
    assert ((rows.weight(layer).float() - before.float()).abs() <= step * 1.1).all()


@pytest.mark.parametrize("dora", [False, True])
def test_a_change_learns_beside_them_and_leaves_the_base_s_bits(low, dora):
    other, x = copy.deepcopy(low), torch.randn(5, 32)
    before = low(x)
    lora.add(low, 4, where=["blocks.0.0", "blocks.1.2"], dora=dora)
    torch.testing.assert_close(low(x), before, rtol=1e-5, atol=1e-5)
    for part in lora.parts(low).values():
        nn.init.normal_(part.b, std=0.1)
    floats = expanded(other)
    lora.attach(floats, lora.tensors_of(low))
    changed = low(x)
    torch.testing.assert_close(changed, floats(x), rtol=1e-5, atol=1e-5)
    changed.sum().backward()
    learned = [p for p in low.parameters() if p.requires_grad]
    assert {p.dtype for p in learned} == {torch.float32} and all(p.grad.norm() > 0 for p in learned)
    assert torch.equal(other(x), before), "a copy of the same base has no change"
    merged = copy.deepcopy(low)
    lora.merge(merged)
    assert torch.equal(merged(x), changed) and all(map(rows.in_rows, rows.layers(merged)))
    lora.remove(low)
    assert torch.equal(low(x), before) and not lora.parts(low)
