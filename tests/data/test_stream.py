from collections import Counter

import pytest

from mmdiff.data.stream import Stream


def keys(stream):
    return [key for batch in stream for key in batch]


def test_every_sample_is_seen_once_an_epoch_also_where_batches_straddle_epochs():
    stream = Stream(10, 4, seed=0, steps=10)                          # 40 draws, 4 epochs of 10
    indices = [index for _, index in keys(stream)]
    for epoch in range(4):
        assert sorted(indices[10 * epoch : 10 * epoch + 10]) == list(range(10))
    assert indices[:10] != indices[10:20]


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_is_the_same_set_of_draws_on_any_number_of_ranks(world, accumulate):
    one = [Counter(batch) for batch in Stream(30, 8, seed=1, steps=5)]
    ranks = [
        list(Stream(30, 8, seed=1, steps=5, rank=r, world=world, accumulate=accumulate)) for r in range(world)
    ]
    for step in range(5):
        parts = [b for rank in ranks for b in rank[step * accumulate : (step + 1) * accumulate]]
        assert sum((Counter(p) for p in parts), Counter()) == one[step]


def test_a_stream_continues_where_it_was_left():
    whole = list(Stream(7, 4, seed=2, steps=9))
    assert list(Stream(7, 4, seed=2, steps=9, start=5)) == whole[5:]
    assert len(Stream(7, 4, seed=2, steps=9, start=5)) == 9


def test_the_order_depends_on_the_seed():
    assert keys(Stream(50, 5, seed=0, steps=4)) != keys(Stream(50, 5, seed=1, steps=4))


def test_a_batch_that_cannot_be_shared_out_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"multiple of 3 device\(s\)"):
        Stream(10, 4, seed=0, steps=1, world=3)
    with pytest.raises(ValueError, match="empty"):
        Stream(0, 4, seed=0, steps=1)
