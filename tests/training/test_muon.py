import copy

import pytest
import torch
from torch import nn

from mmdiff.nn.dit1d import DiT1d
from mmdiff.nn.unet1d import UNet1d
from mmdiff.training.muon import Muon
from mmdiff.training.optim import AdamW


def make():
    torch.manual_seed(0)
    return DiT1d(4, 0, dim=16, depth=2, heads=2)


def train(network, optimizer, schedule, steps, start=0):
    for k in range(start, start + steps):
        x = torch.randn(4, 4, 10, generator=torch.Generator().manual_seed(k))
        optimizer.zero_grad()
        (network(x, torch.rand(4, generator=torch.Generator().manual_seed(k))) - x.flip(-1)).square().mean().backward()
        optimizer.step()
        schedule.step()


def test_every_parameter_is_in_one_group_and_only_matrices_of_blocks_are_orthogonalised():
    network = make()
    optimizer, _ = Muon()(network, steps=10)
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in network.parameters()}
    assert len(grouped) == len(list(network.parameters()))
    muon = optimizer.optimizers[0].param_groups[0]["params"]
    assert {id(p) for p in muon} == {id(p) for p in network.blocks.parameters() if p.ndim == 2}


def test_a_continued_run_is_the_uninterrupted_one_bit_for_bit():
    whole, parts = make(), make()
    recipe = Muon(rest=AdamW(warmup=3))
    train(whole, *recipe(whole, steps=12), 8)
    optimizer, schedule = recipe(parts, steps=12)
    train(parts, optimizer, schedule, 5)
    saved = copy.deepcopy((optimizer.state_dict(), schedule.state_dict(), parts.state_dict()))
    resumed = make()
    resumed.load_state_dict(saved[2])
    optimizer, schedule = recipe(resumed, steps=12)
    optimizer.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    train(resumed, optimizer, schedule, 3, start=5)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_update_of_a_matrix_is_orthogonal_and_as_long_as_adamws():
    network = nn.Module()
    network.blocks = nn.ModuleList([nn.Linear(24, 40, bias=False)])
    optimizer, _ = Muon(lr=0.1, rest=AdamW(warmup=0))(network, steps=10)
    weight = network.blocks[0].weight
    before, weight.grad = weight.detach().clone(), torch.randn(40, 24)
    optimizer.step()
    change = (weight.detach() - before) / 0.1
    values = torch.linalg.svdvals(change) / (0.2 * 40**0.5)
    assert (values > 0.5).all() and (values < 1.5).all()
    assert abs(change.square().mean().sqrt() - 0.2) < 0.05


def test_a_network_without_blocks_is_refused():
    with pytest.raises(ValueError, match="adamw"):
        Muon()(UNet1d(4, 0, base=8, multipliers=(1,), heads=2), steps=1)
