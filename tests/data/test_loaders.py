"""Files that become unreadable while a run goes on."""

import pytest
import torch

from mmdiff.data.dataset import Dataset
from mmdiff.data.loaders import eval_loader, train_loader
from mmdiff.data.stream import Stream


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
