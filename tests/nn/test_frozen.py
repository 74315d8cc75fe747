"""Weights that are somebody else's: shared, frozen, and no part of a network's state until they are replaced."""

import copy

import pytest
import torch
from torch import nn

from mmdiff.nn import lora
from mmdiff.nn.frozen import freeze, frozen_tensors, sharing
from mmdiff.training.ema import Ema


class Outer(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = sharing(inner)
        freeze(self)


@pytest.fixture
def inner():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_held_tensors_are_shared_frozen_and_in_no_state(inner):
    one, other = Outer(inner), Outer(inner)
    assert one.state_dict() == {} and len(frozen_tensors(nn.ModuleDict({"a": one}))) == len(inner.state_dict())
    assert all(a is b for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not any(p.requires_grad for p in one.parameters())
    assert nn.ModuleDict({"a": one}).load_state_dict({}, strict=True).missing_keys == []


def test_a_change_is_in_the_state_alone_and_what_is_merged_is_the_network_s_own(inner):
    one = Outer(inner)
    lora.add(one, 2, where=["inner.0"])
    assert sorted(name.rpartition(".")[2] for name in one.state_dict()) == ["a", "b"]
    average = Ema(nn.ModuleDict({"network": one})).average["network"]
    assert average.state_dict().keys() == one.state_dict().keys() and average.inner[2].weight is one.inner[2].weight
    with torch.no_grad():
        one.inner[0].parametrizations.weight[0].parts["change"].b.fill_(1.0)
    lora.merge(one)
    assert list(one.state_dict()) == ["inner.0.weight"]
    again = Outer(inner)
    again.load_state_dict(one.state_dict(), strict=True)
    assert list(again.state_dict()) == ["inner.0.weight"] and torch.equal(again.inner[0].weight, one.inner[0].weight)
    assert not torch.equal(inner[0].weight, again.inner[0].weight), "what others share is not written to"
    assert copy.deepcopy(again).state_dict().keys() == again.state_dict().keys()


def test_a_name_that_finds_no_place_is_an_error(inner):
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"inner.9.weight\""):
        Outer(inner).load_state_dict({"inner.9.weight": torch.zeros(1)})


@pytest.mark.parametrize("large", [False, True])
def test_a_change_of_low_precision_weights_learns_in_float32_and_keeps_the_precision_of_what_it_changes(
    large, monkeypatch
):
    monkeypatch.setattr(lora, "LARGE", 1 if large else 2**30)
    layer = nn.Sequential(nn.Linear(6, 5, dtype=torch.bfloat16))
    plain = layer[0].weight.detach().clone()
    lora.add(layer, 2)
    part = lora.parts(layer)["0"]
    assert part.a.dtype == part.b.dtype == torch.float32 and layer[0].weight.dtype == torch.bfloat16
    x = torch.randn(3, 6, dtype=torch.bfloat16)
    assert torch.equal(layer(x), nn.functional.linear(x, plain, layer[0].bias))
    with torch.no_grad():
        part.b.fill_(0.5)
    out = layer(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), nn.functional.linear(
        x.float(), plain.float() + part.b @ part.a, layer[0].bias.float()), rtol=0.05, atol=0.05)
    out.float().sum().backward()
    assert part.a.grad.dtype == torch.float32 and part.b.grad.abs().sum() > 0
