import pytest
import torch
from torch import nn

from mmdiff.training.optim import AdamW


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
