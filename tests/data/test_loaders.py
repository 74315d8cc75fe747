"""Files that become unreadable while a run goes on."""

from itertools import pairwise

import pytest
import torch

from mmdiff.data.dataset import Dataset, spread
from mmdiff.data.loaders import eval_loader, train_loader
from mmdiff.data.stream import Stream
from mmdiff.training.previews import PreviewMaker


class Frail(Dataset):
    """Sample i is i; ``broken`` fail always, ``damaged`` with random choices."""

    fields = {}  # noqa: RUF012

    def __init__(self, broken=(), damaged=()):
        self.broken, self.damaged = broken, damaged

    def __len__(self):
        return 6

    def read(self, index, rng=None):
        if index in self.broken or (rng is not None and index in self.damaged):
            raise ValueError(f"sample {index} is damaged")
        return torch.full((1, 2), float(index)), {}

    def name(self, index):
        return f"file-{index}"


def values(dataset, steps=3):
    batches = train_loader(dataset, Stream(6, 2, seed=0, steps=steps))
    return [v for batch in batches for v in batch.samples.x[:, 0, 0].tolist()]


def test_a_file_that_fails_is_named_and_replaced_and_the_run_goes_on():
    whole = values(Frail())
    with pytest.warns(UserWarning, match="file-2 cannot be read: sample 2 is damaged"):
        assert values(Frail(damaged=[2])) == whole
    with pytest.warns(UserWarning, match="file-2"):
        assert values(Frail(broken=[2])) == [3 if v == 2 else v for v in whole]


def test_where_nothing_can_be_read_the_reason_is_told():
    with pytest.warns(UserWarning, match="cannot be read"), pytest.raises(ValueError, match="is damaged"):
        values(Frail(broken=range(6)))


def test_validation_replaces_nothing():
    with pytest.warns(UserWarning, match="cannot be read"), pytest.raises(ValueError, match="sample 2"):
        list(eval_loader(Frail(broken=[2]), 2))


class Sorted(Frail):
    """Ten classes one after the other, as folders are listed."""

    fields = {"label": list("abcdefghij")}  # noqa: RUF012

    def __len__(self):
        return 300

    def read(self, index, rng=None):
        return torch.full((1, 2), float(index)), {"label": "abcdefghij"[index // 30]}


@pytest.mark.parametrize("world", [1, 2, 3])
def test_validation_sees_all_of_the_held_out_set_whatever_the_number_of_processes(world):
    batches = [b for rank in range(world) for b in eval_loader(Sorted(), 8, limit=40, rank=rank, world=world)]
    draws = torch.cat([b.draws for b in batches])
    values = torch.cat([b.samples.x[:, 0, 0] for b in batches])
    assert draws.sort().values.tolist() == spread(300, 40) == values.sort().values.tolist()
    assert torch.cat([b.labels["label"] for b in batches]).bincount()[-10:].tolist() == [4] * 10


def test_a_spread_is_distinct_and_even_and_all_where_there_is_less():
    assert spread(3, 7) == spread(3) == [0, 1, 2] and spread(5, 0) == spread(0, 5) == []
    for count, limit in ((10, 9), (1000, 7), (17, 16)):
        chosen = spread(count, limit)
        gaps = {b - a for a, b in pairwise(chosen)}
        assert len(set(chosen)) == limit and gaps <= {count // limit, -(-count // limit)}


def test_previews_show_labels_of_all_the_set():
    shown = PreviewMaker({}, Sorted(), n=10).shown
    assert [labels["label"] for _, labels in shown] == list("abcdefghij")
