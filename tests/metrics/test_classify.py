"""Confusion and the classifier score, and intervals around them."""

import pytest
import torch

from mmdiff.metrics.bootstrap import Interval, bootstrap, median
from mmdiff.metrics.classify import classifier_score, confusion, proportion


def test_confusion_counts():
    true, predicted = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([0, 1, 1, 2, 0, 2])
    table = confusion(predicted, true, classes=3)
    assert table.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    assert table.trace() == 4
    assert table.sum(1).tolist() == [2, 1, 3]


@pytest.mark.parametrize(
    ("right", "n", "low", "high"), [(300, 300, 0.9874, 1), (0, 10, 0, 0.2775), (81, 263, 0.2553, 0.3662)]
)
def test_intervals_of_a_share_are_those_of_the_literature(right, n, low, high):
    """Newcombe 1998, table I, for 81 of 263."""
    found = proportion(torch.arange(n) < right)
    assert found == pytest.approx((right / n, low, high), abs=1e-4)


def test_an_interval_of_a_share_holds_it_also_where_all_or_none_are_right():
    for n in range(1, 400):
        for right in (0, n):
            found = proportion(torch.arange(n) < right)
            assert 0 <= found.low <= found.value <= found.high <= 1


def test_classifier_score_is_one_for_no_knowledge_and_no_diversity_and_the_classes_for_both():
    assert classifier_score(torch.full((50, 10), 0.1)) == pytest.approx(1)
    assert classifier_score(torch.eye(10)[torch.zeros(50, dtype=torch.long)]) == pytest.approx(1)
    assert classifier_score(torch.eye(10).repeat(5, 1)) == pytest.approx(10)


def test_classifier_score_of_two_sure_halves_of_which_one_is_torn():
    """p = (1, 0) and (1/2, 1/2): the mean is (3/4, 1/4)."""
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    divergences = [torch.tensor(4 / 3).log(), 0.5 * torch.tensor(2 / 3).log() + 0.5 * torch.tensor(2.0).log()]
    assert classifier_score(p) == pytest.approx((sum(divergences) / 2).exp().item())


def test_classifier_score_refuses_logits():
    with pytest.raises(ValueError, match="apply a softmax"):
        classifier_score(torch.randn(5, 3))
    with pytest.raises(ValueError, match="truth values"):
        proportion(torch.zeros(0, dtype=torch.bool))


def test_bootstrap_of_a_mean_is_the_normal_interval():
    x = torch.randn(400, generator=torch.Generator().manual_seed(0))
    found, half = bootstrap(x), 1.96 * x.std().item() / 20
    assert found.value == pytest.approx(x.mean().item())
    assert found.low == pytest.approx(found.value - half, abs=0.1 * half)
    assert found.high == pytest.approx(found.value + half, abs=0.1 * half)


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    draws = torch.rand(200, 40, generator=torch.Generator().manual_seed(1))
    covered = [(i := bootstrap(x, resamples=300)).low <= 0.5 <= i.high for x in draws]
    assert 0.88 < sum(covered) / 200 <= 0.985


def test_bootstrap_is_fixed_by_its_seed_and_follows_the_statistic():
    x = torch.rand(50, generator=torch.Generator().manual_seed(2))
    assert bootstrap(x) == bootstrap(x) != bootstrap(x, seed=1)
    assert bootstrap(10 * x + 3, median) == pytest.approx([10 * v + 3 for v in bootstrap(x, median)])
    assert bootstrap(torch.ones(5)) == Interval(1, 1, 1)


def test_bootstrap_refuses_a_single_sample_and_a_confidence_of_one():
    with pytest.raises(ValueError, match="2 samples"):
        bootstrap(torch.ones(1))
    with pytest.raises(ValueError, match="0 < confidence < 1"):
        bootstrap(torch.ones(3), confidence=1.0)
