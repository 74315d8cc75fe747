"""Weights that stay on the host change no bit, and few blocks are on the device at a time."""

import copy
import weakref

import pytest
import torch
from torch import nn

from mmdiff.nn import lora, rows
from mmdiff.nn.frozen import freeze, sharing
from mmdiff.nn.offload import Offloaded
from mmdiff.training.blocks import prepare

N = 6


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(N))

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return x


class Public(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = sharing(inner)
        freeze(self)
        lora.add(self, 2, where=[name for name in lora.layers(self) if "blocks" in name])

    def forward(self, x):
        return self.inner(x)


@pytest.fixture(params=["float32", "int8"])
def inner(request):
    torch.manual_seed(0)
    made = Net().requires_grad_(False)
    return rows.quantize(made) if request.param == "int8" else made


@pytest.fixture
def resident(monkeypatch):
    """How many blocks had copies at once, at most."""
    alive, most, copied = set(), [0], Offloaded.copied

    def counted(self, i, device):
        made = copied(self, i, device)
        alive.add(key := object())
        weakref.finalize(made[0].untyped_storage(), alive.discard, key)
        most[0] = max(most[0], len(alive))
        return made

    monkeypatch.setattr(Offloaded, "copied", counted)
    return most


def test_output_and_gradients_have_the_same_bits_and_few_blocks_are_there_at_a_time(inner, resident):
    torch.manual_seed(1)
    plain = Public(inner)
    for part in lora.parts(plain).values():
        nn.init.normal_(part.b)
    low = copy.deepcopy(plain)
    prepare(low, recompute=1, compiled=False, offload=True)
    x = torch.randn(3, 8)
    for _ in range(2):
        outs = [network(x) for network in (plain, low)]
        assert torch.equal(*outs)
        for out in outs:
            out.square().sum().backward()
    learned = [[p for p in network.parameters() if p.requires_grad] for network in (plain, low)]
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(*learned, strict=True)) and len(learned[0]) == 4 * N
    assert 2 <= resident[0] <= 3 < N
    with torch.no_grad():
        assert torch.equal(plain(x), low(x)) and torch.equal(plain(x), low(x))


def test_each_block_is_copied_once_a_pass(inner, monkeypatch):
    low, copied, seen = Public(inner), Offloaded.copied, []
    prepare(low, recompute=1, compiled=False, offload=True)
    monkeypatch.setattr(Offloaded, "copied", lambda self, i, device: seen.append(i) or copied(self, i, device))
    low(torch.randn(3, 8)).sum().backward()
    assert seen == [0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0]


def test_what_is_a_public_model_s_stays_on_the_host_where_the_rest_is_moved(inner):
    low = Public(inner)
    prepare(low, recompute=1, compiled=False, offload=True)
    before = {id(p) for p in inner.blocks.parameters()}
    low.to("meta")
    here = {p for p in low.inner.blocks.parameters() if not p.is_meta}
    assert {id(p) for p in here} == before and low.inner.first.weight.is_meta
    assert all(p.is_meta for p in low.parameters() if p.requires_grad)


def test_what_cannot_be_offloaded_says_why(inner):
    with pytest.raises(ValueError, match="keeps weights of a public model on the host, and this network has none"):
        prepare(Net(), recompute=1, compiled=False, offload=True)
    with pytest.raises(ValueError, match="goes with recompute=1"):
        prepare(Public(inner), recompute=0, compiled=False, offload=True)
    with pytest.raises(ValueError, match="not with compile=true"):
        prepare(Public(inner), recompute=1, compiled=True, offload=True)
