import itertools

import pytest
import torch

from mmdiff.core.rng import Purpose, normal
from mmdiff.core.types import Masked
from mmdiff.data.coupling import Assignment


def test_the_assignment_is_the_best_of_all_and_keeps_the_set():
    torch.manual_seed(0)
    x, eps = torch.randn(4, 6), torch.randn(4, 6)
    paired = Assignment()(x, eps)
    best = min(
        (eps[:3] - x[:3, list(order)]).square().sum().item() for order in itertools.permutations(range(6))
    )
    assert (eps[:3] - paired[:3]).square().sum().item() == pytest.approx(best, rel=1e-5)
    assert sorted(paired[3].tolist()) == sorted(x[3].tolist())


@pytest.mark.parametrize("block", [2, 7, 32, 1000])
def test_blocks_keep_the_set_and_smaller_ones_pair_less_well(block):
    torch.manual_seed(0)
    x, eps = torch.randn(3, 64), torch.randn(3, 64)
    paired = Assignment(block=block)(x, eps)
    assert sorted(map(tuple, paired.T.tolist())) == sorted(map(tuple, x.T.tolist()))
    exact = (eps - Assignment(block=64)(x, eps)).square().sum()
    assert exact <= (eps - paired).square().sum() + 1e-4 <= (eps - x).square().sum() + 1e-3


def test_scale_and_shift_of_the_data_change_nothing():
    x, eps = torch.randn(3, 40), torch.randn(3, 40)
    torch.testing.assert_close(Assignment()(5 * x + 3, eps), 5 * Assignment()(x, eps) + 3)


def test_noise_that_is_paired_is_the_noise_that_the_loss_draws():
    """Loader and loss agree by key: (seed, draw, purpose)."""
    x = torch.randn(3, 30)
    alone = normal(5, torch.tensor([17]), Purpose.NOISE, Masked(x[None]))
    batch = normal(5, torch.tensor([16, 17]), Purpose.NOISE, Masked(torch.stack([x, x])))
    assert torch.equal(alone[0], batch[1])
