"""The three modalities that come with mmdiff keep the laws that those of other packages keep."""

import pytest

from mmdiff.testing import AdapterContract


class Own(AdapterContract):
    @pytest.mark.slow
    def test_two_processes_train_as_one(self, trial):
        super().test_two_processes_train_as_one(trial)


class TestAudio(Own):
    adapter = "audio"
    overrides = (
        "adapter.network.base=16", "adapter.network.multipliers=[1,2]", "adapter.reader.seconds=0.25",
        "adapter.codec.vocoder.n_iter=8", "adapter.conditioner.dim=16", "loader.limit=16",
    )


class TestVideo(Own):
    adapter = "video"
    overrides = (
        "adapter.network.dim=64", "adapter.network.depth=2", "adapter.network.heads=2", "adapter.network.patch=[2,4,4]",
        "adapter.reader.frames=4", "adapter.reader.height=16", "adapter.reader.width=16", "data.frames=4",
        "data.size=16", "adapter.conditioner.dim=16", "loader.limit=16",
    )


class TestPoints(Own):
    adapter = "points"
    overrides = (
        "adapter.network.dim=64", "adapter.network.depth=2", "adapter.network.heads=2", "adapter.reader.points=64",
        "adapter.conditioner.dim=16", "loader.limit=16",
    )


del Own
