"""Blocks that are computed again or compiled give the same loss and gradients, under the same names of weights."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from mmdiff.core.types import Condition
from mmdiff.nn import lora
from mmdiff.nn.dit1d import DiT1d
from mmdiff.nn.network import blocks
from mmdiff.nn.point_dit import PointDiT
from mmdiff.nn.point_egnn import PointEGNN
from mmdiff.nn.tensors import outlined
from mmdiff.nn.unet1d import UNet1d
from mmdiff.nn.video_dit import VideoDiT
from mmdiff.training.blocks import prepare
from mmdiff.training.sharded import gathered

SMALL = {"dim": 32, "depth": 3, "heads": 2}
NETWORKS = {
    "unet": (lambda: UNet1d(4, 0, base=8, multipliers=(1, 2), heads=2), (4, 12), 5),
    "dit": (lambda: DiT1d(4, 0, **SMALL), (4, 12), 3),
    "video": (lambda: VideoDiT(3, 0, **SMALL, patch=(1, 4, 4)), (3, 2, 8, 8), 3),
    "points": (lambda: PointDiT(3, 0, **SMALL, voxels=4), (3, 20), 3),
    "molecules": (lambda: PointEGNN(5, 0, **SMALL), (5, 20), 3),
}


def made(name):
    torch.manual_seed(0)
    make, shape, count = NETWORKS[name]
    network = make()
    for p in network.parameters():
        nn.init.normal_(p, std=0.1)
    return network, torch.randn(2, *shape), count


def results(network, x):
    """Output and gradients by name."""
    out = network(x, torch.tensor([0.3, 0.8]), Condition(), None)
    out.square().mean().backward()
    return out.detach(), {name: p.grad for name, p in network.named_parameters()}


def assert_same(network, other, x):
    (out, grads), (out2, grads2) = results(network, x), results(other, x)
    torch.testing.assert_close(out, out2, rtol=1e-5, atol=1e-6)
    assert grads.keys() == grads2.keys()
    for name, grad in grads.items():
        torch.testing.assert_close(grads2[name], grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("every", [1, 2])
def test_every_kth_block_is_computed_twice_and_gradients_stay(name, every):
    network, x, count = made(name)
    units = list(blocks(network))
    assert len(units) == count
    other, calls = copy.deepcopy(network), []
    for i, block in enumerate(blocks(other)):
        inner = block.forward
        block.forward = lambda *a, inner=inner, i=i, **k: (calls.append(i), inner(*a, **k))[1]
    prepare(other, recompute=every, compiled=False)
    assert_same(network, other, x)
    assert [calls.count(i) for i in range(count)] == [1 + ((i + 1) % every == 0) for i in range(count)]


@pytest.mark.parametrize(
    "name", ["unet", pytest.param("points", marks=pytest.mark.slow), pytest.param("molecules", marks=pytest.mark.slow)]
)
def test_compiled_blocks_agree_also_where_they_are_computed_again(name, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    network, x, _ = made(name)
    other = copy.deepcopy(network)
    prepare(other, recompute=2, compiled=True)
    assert_same(network, other, x)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_compiled_to_code_agree(name):
    network, x, _ = made(name)
    other = copy.deepcopy(network)
    prepare(other, recompute=0, compiled=True)
    assert_same(network, other, x)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_change_of_weights_makes_no_blocks(name):
    network, _, count = made(name)
    before = list(blocks(network))
    lora.add(network, 2)
    assert len(before) == count and all(a is b for a, b in zip(blocks(network), before, strict=True))


def test_a_network_without_blocks_and_a_negative_number_are_refused():
    prepare(nn.Linear(1, 1), recompute=0, compiled=False)
    with pytest.raises(ValueError, match="Linear has no blocks"):
        prepare(nn.Linear(1, 1), recompute=1, compiled=False)
    with pytest.raises(ValueError, match="got -1"):
        prepare(nn.Linear(1, 1), recompute=-1, compiled=False)


def test_an_outline_takes_no_memory_and_is_filled_with_the_whole():
    network, x, _ = made("points")
    empty = outlined(network, shared=network.buffers())
    assert all(p.is_meta for p in empty.parameters())
    filled = gathered(network, empty)
    assert torch.equal(filled(x, torch.ones(2)), network(x, torch.ones(2)))
    assert all(p.is_meta for p in empty.parameters()) and not any(p.requires_grad for p in filled.parameters())
