from collections import Counter

import pytest

from mmdiff.data.stream import Stream, batch_sizes


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
        assert sum((Counter(rank[step]) for rank in ranks), Counter()) == one[step]


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


SHAPES = [(8, 4)] * 10 + [(4, 4)] * 7 + [(1, 4)] * 3
SIZES = {(8, 4): 2, (4, 4): 4, (1, 4): 16}


def test_a_step_holds_one_shape_and_every_sample_is_seen_once_an_epoch_of_its_bucket():
    seen = {shape: [] for shape in SIZES}
    for batch in Stream(SHAPES, SIZES, seed=0, steps=60):
        (shape,) = {SHAPES[index] for _, index in batch}
        assert len(batch) == SIZES[shape]
        seen[shape] += [index for _, index in batch]
    for shape, indices in seen.items():
        members = [i for i, s in enumerate(SHAPES) if s == shape]
        for epoch in range(len(indices) // len(members)):
            assert sorted(indices[epoch * len(members) : (epoch + 1) * len(members)]) == members


def test_buckets_are_gone_through_at_one_pace():
    counts = Counter(SHAPES[index] for batch in Stream(SHAPES, SIZES, seed=0, steps=3000) for _, index in batch)
    epochs = {shape: counts[shape] / SHAPES.count(shape) for shape in SIZES}
    assert max(epochs.values()) - min(epochs.values()) <= 16 / 3


def test_draws_of_buckets_are_numbered_through_and_lead_back_to_their_samples():
    stream = Stream(SHAPES, SIZES, seed=3, steps=40)
    pairs = keys(stream)
    assert [draw for draw, _ in pairs] == list(range(len(pairs)))
    assert all(stream.index(draw) == index for draw, index in pairs)
    steps = [stream.step(n) for n in range(40)]
    assert [s.size for s in steps] == [len(batch) for batch in stream]
    assert [stream.step(n) for n in (39, 5, 6)] == [steps[39], steps[5], steps[6]]


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (1, 2)])
def test_a_bucketed_step_is_the_same_on_any_number_of_ranks_and_continues(world, accumulate):
    options = {"seed": 1, "steps": 20}
    one = [Counter(batch) for batch in Stream(SHAPES, SIZES, **options)]
    ranks = [
        list(Stream(SHAPES, SIZES, rank=r, world=world, accumulate=accumulate, start=7, **options))
        for r in range(world)
    ]
    for step in range(7, 20):
        assert sum((Counter(rank[step - 7]) for rank in ranks), Counter()) == one[step]


def test_a_budget_of_positions_sizes_the_steps():
    assert batch_sizes(SHAPES, budget=64, multiple=2) == {(8, 4): 2, (4, 4): 4, (1, 4): 16}
    assert batch_sizes([(100, 100)], budget=64, multiple=4) == {(100, 100): 4}
    with pytest.raises(ValueError, match="batch_size"):
        batch_sizes([None], budget=64, multiple=4)
