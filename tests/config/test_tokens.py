"""Whether a network reads tokens follows from its conditioner; it is no setting of its own."""

import pytest
from torch import nn

from mmdiff.config.adapter import build_adapter, build_codec
from mmdiff.config.build import ConfigError
from mmdiff.config.overrides import composed
from mmdiff.data.labels import TEXT
from mmdiff.nn.network import Network


class Deaf(Network):
    """A network that reads no tokens."""

    __module__ = "mmdiff.nn.network"

    def __init__(self, channels: int, cond_dim: int):
        super().__init__()
        self.out = nn.Conv1d(channels, channels, 1)

    def forward(self, x, level, cond=None, mask=None):
        return self.out(x)


@pytest.fixture
def adapter():
    config = composed("train", ["adapter.network.base=8", "adapter.network.multipliers=[1,2]", "run=x"])
    return config.adapter


CLASSES, TEXTS = {"kind": ["a", "b"]}, {"caption": TEXT, "kind": ["a", "b"]}


def network(adapter, fields):
    return build_adapter(adapter, *build_codec(adapter), fields=fields).network


def test_a_network_attends_to_tokens_where_its_conditioner_gives_them_and_nowhere_else(adapter):
    crossed = [any("cross" in name for name, _ in network(adapter, f).named_parameters()) for f in (CLASSES, TEXTS)]
    assert crossed == [False, True]


def test_a_network_that_reads_no_tokens_is_refused_for_a_conditioner_that_gives_them(adapter, monkeypatch):
    monkeypatch.setattr("mmdiff.nn.network.Deaf", Deaf, raising=False)
    adapter.network = {"_target_": "mmdiff.nn.network.Deaf"}
    assert isinstance(network(adapter, CLASSES), Deaf)
    with pytest.raises(ConfigError, match=r"Labels gives tokens, which mmdiff\.nn\.network\.Deaf does not read"):
        network(adapter, TEXTS)


def test_tokens_are_no_setting():
    with pytest.raises(ConfigError, match=r"no key 'adapter\.network\.tokens'"):
        composed("train", ["adapter.network.tokens=true", "run=x"])
