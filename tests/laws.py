"""The contract of adapters for public models: laws that take a minute there come with ``-m slow``."""

import pytest

from mmdiff.testing import AdapterContract, Trial


class PublicContract(AdapterContract):
    """Of a public model: that two processes train as one is shown of it elsewhere."""

    @pytest.mark.slow
    def test_two_processes_train_as_one(self, trial: Trial) -> None:
        super().test_two_processes_train_as_one(trial)


class PublicCodecContract(PublicContract):
    """Of its autoencoder under a network of our own, which learns as it does under any codec."""

    @pytest.mark.slow
    def test_one_batch_is_overfitted(self, trial: Trial) -> None:
        super().test_one_batch_is_overfitted(trial)
