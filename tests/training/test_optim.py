import copy

import pytest
import torch
from torch import nn

from mmdiff.nn.dit1d import DiT1d
from mmdiff.training.muon import Muon
from mmdiff.training.optim import AdamW, impose, settings


def test_warm_up_hold_and_decay():
    optim = AdamW(warmup=10, decay="cosine", hold=0.5)
    factors = [optim.factor(step, 100) for step in range(101)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == 1.0
    assert factors[10:51] == [1.0] * 41
    assert factors[75] == pytest.approx(0.5) and factors[100] == pytest.approx(0)
    assert AdamW(decay="constant").factor(10_000, 100) == 1.0


def test_vectors_are_not_decayed_and_frozen_parameters_not_touched():
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    module[2].requires_grad_(False)
    optimizer, _ = AdamW(weight_decay=0.1)(module, steps=10)
    decayed, plain = optimizer.param_groups
    assert [p.ndim for p in decayed["params"]] == [2] and decayed["weight_decay"] == 0.1
    assert [p.ndim for p in plain["params"]] == [1, 1, 1] and plain["weight_decay"] == 0
    assert isinstance(optimizer, torch.optim.AdamW)


def test_an_unknown_decay_is_refused():
    with pytest.raises(ValueError, match="constant, cosine, linear"):
        AdamW(decay="exponential")


BEGUN = {AdamW: AdamW(warmup=4), Muon: Muon(rest=AdamW(warmup=4))}
CHANGED = [
    AdamW(lr=2e-3), AdamW(betas=(0.5, 0.6)), AdamW(weight_decay=0.3), AdamW(warmup=9), AdamW(decay="linear", hold=0.1),
    Muon(lr=1e-2), Muon(momentum=0.5), Muon(rest=AdamW(lr=2e-3, weight_decay=0.1, betas=(0.5, 0.6))),
    AdamW(warmup=4), Muon(rest=AdamW(warmup=4)),
]


def stepped(recipe, steps, saved=None, *, length=10):
    """Network, optimizer and schedule after some steps, begun anew or gone on with from what was saved."""
    torch.manual_seed(0)
    network = DiT1d(2, 0, dim=8, depth=1, heads=1)
    optimizer, schedule = recipe(network, steps=length)
    asked = settings(optimizer)
    if saved:
        for part, state in zip((network, optimizer, schedule), saved, strict=True):
            part.load_state_dict(state)
        impose(asked, optimizer, schedule)
    for _ in range(steps):
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        schedule.step()
    return network, optimizer, schedule


@pytest.mark.parametrize("recipe", CHANGED, ids=lambda r: type(r).__name__)
def test_what_is_configured_wins_over_what_was_saved_and_moments_stay(recipe):
    saved = [copy.deepcopy(part.state_dict()) for part in stepped(BEGUN[type(recipe)], 3)]
    _, optimizer, schedule = stepped(recipe, 0, saved, length=20)
    _, fresh, fresh_schedule = stepped(recipe, 0, length=20)
    for group, asked, rate in zip(optimizer.param_groups, settings(fresh), fresh_schedule.lr_lambdas, strict=True):
        told = {name: value for name, value in group.items() if name != "params"}
        assert told == {**asked, "lr": asked["initial_lr"] * rate(3)}
    assert schedule.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
    for one, two in zip(optimizer.state_dict()["state"].values(), saved[1]["state"].values(), strict=True):
        assert all(torch.equal(one[name], two[name]) for name in two)


@pytest.mark.parametrize("recipe", BEGUN.values(), ids=lambda r: type(r).__name__)
def test_with_the_same_settings_going_on_changes_no_bit(recipe):
    saved = [copy.deepcopy(part.state_dict()) for part in stepped(recipe, 3)]
    straight, again = stepped(recipe, 7)[0], stepped(recipe, 4, saved)[0]
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), again.parameters(), strict=True))
