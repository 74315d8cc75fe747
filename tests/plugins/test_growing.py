"""Models of every modality grow: those that come with mmdiff, and one of another package."""

import pytest

from mmdiff.testing import Trial
from tests.plugins import test_own_adapters as own
from tests.plugins.conftest import install
from tests.plugins.test_examples import EXAMPLES
from tests.training.growth import assert_grows, assert_learns_a_subject

OWN = pytest.mark.parametrize("of", [own.TestAudio, own.TestVideo, own.TestPoints], ids=lambda of: of.adapter)


@OWN
def test_growing_keeps_the_bits_of_all_old_requests(of, tmp_path):
    assert_grows(Trial(of.adapter, of.overrides, tmp_path))


@OWN
def test_a_new_class_learns_from_four_files_beside_samples_of_the_base(of, tmp_path):
    assert_learns_a_subject(Trial(of.adapter, of.overrides, tmp_path))


def test_a_model_of_another_package_grows_and_learns_a_subject(with_plugins, tmp_path):
    install(tmp_path / "site", EXAMPLES / "biosignals")
    with_plugins(tmp_path / "site")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    words = ["adapter.network.base=8", "adapter.reader.seconds=1", "loader.limit=16"]
    assert_grows(Trial("biosignals", words, tmp_path / "a"))
    assert_learns_a_subject(Trial("biosignals", words, tmp_path / "b"))
