import itertools

import pytest
import torch

from mmdiff.core.rng import Purpose, normal
from mmdiff.core.types import Masked
from mmdiff.data.coupling import BLOCK, Coupling


def test_the_assignment_is_the_best_of_all_and_keeps_the_set():
    torch.manual_seed(0)
    x, eps = torch.randn(4, 6), torch.randn(4, 6)
    paired = Coupling(kind="assignment")(x, eps)
    best = min(
        (eps[:3] - x[:3, list(order)]).square().sum().item() for order in itertools.permutations(range(6))
    )
    assert (eps[:3] - paired[:3]).square().sum().item() == pytest.approx(best, rel=1e-5)
    assert sorted(paired[3].tolist()) == sorted(x[3].tolist())


@pytest.mark.parametrize("points", [60, BLOCK, BLOCK + 1, 600])
def test_blocks_keep_the_set_and_pair_it_less_well_than_all_at_once(points):
    torch.manual_seed(0)
    x, eps = torch.randn(3, points), torch.randn(3, points)
    exact, blocks = (Coupling(kind=kind)(x, eps) for kind in ("assignment", "blocks"))
    assert sorted(map(tuple, blocks.T.tolist())) == sorted(map(tuple, x.T.tolist()))
    cost = [(eps - paired).square().sum().item() for paired in (exact, blocks, x)]
    assert cost[0] <= cost[1] + 1e-3 and cost[1] < 0.2 * cost[2]
    assert torch.equal(exact, blocks) == (points <= BLOCK)


def test_independent_leaves_the_order_and_other_kinds_are_refused():
    x = torch.randn(3, 9)
    assert Coupling()(x, torch.randn(3, 9)) is x
    with pytest.raises(ValueError, match="independent, assignment, blocks"):
        Coupling(kind="optimal")


def test_scale_and_shift_of_the_data_change_nothing():
    x, eps = torch.randn(3, 40), torch.randn(3, 40)
    torch.testing.assert_close(Coupling(kind="assignment")(5 * x + 3, eps), 5 * Coupling(kind="assignment")(x, eps) + 3)


def test_noise_that_is_paired_is_the_noise_that_the_loss_draws():
    """Loader and loss agree by key: (seed, draw, purpose)."""
    x = torch.randn(3, 30)
    alone = normal(5, torch.tensor([17]), Purpose.NOISE, Masked(x[None]))
    batch = normal(5, torch.tensor([16, 17]), Purpose.NOISE, Masked(torch.stack([x, x])))
    assert torch.equal(alone[0], batch[1])
