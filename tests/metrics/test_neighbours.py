"""Distances to the training set."""

import pytest
import torch

from mmdiff.metrics.neighbours import nearest_distances


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_nearest_is_the_least_of_all_distances():
    queries, references = normal(9, 3, 20), normal(33, 3, 20, seed=1)
    every = (queries[:, None] - references).square().sum((-2, -1)).sqrt()
    for block in (5, 33, 100):
        distance, where = nearest_distances(queries, references, block=block)
        torch.testing.assert_close(distance.float(), every.min(1).values)
        assert torch.equal(where, every.argmin(1))


def test_a_copy_is_at_distance_zero():
    references = 100 * normal(50, 3, 40)
    distance, where = nearest_distances(references[7:9], references)
    assert distance.max() < 1e-3
    assert where.tolist() == [7, 8]


@pytest.mark.parametrize("k", [-3, -1, 0, 2, 3])
def test_a_shifted_copy_is_found_within_the_shifts_only(k):
    references = torch.nn.functional.pad(normal(20, 3, 30), (5, 5))  # silence at both ends
    query = references[4:5].roll(k, -1)
    assert nearest_distances(query, references, shifts=3)[0] < 1e-6
    assert nearest_distances(query, references, shifts=3)[1] == 4
    if k:
        assert nearest_distances(query, references, shifts=abs(k) - 1)[0] > 1


def test_plain_vectors_are_samples_too():
    distance, _ = nearest_distances(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [6.0, 8.0]]))
    assert distance.item() == pytest.approx(5)


def test_nearest_names_what_does_not_match():
    with pytest.raises(ValueError, match=r"share \*S.*\(2, 3\) and \(2, 4\)"):
        nearest_distances(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="M at least 1"):
        nearest_distances(torch.zeros(2, 3), torch.zeros(0, 3))
