"""What the tests of provenance share: tiny models, and a chain of certificates."""

import pytest

from mmdiff.provenance.certificates import new
from tests.provenance.models import TINY, made


@pytest.fixture(scope="session")
def model_of(tmp_path_factory):
    """The model file of a modality, made when it is first asked for."""
    there = {}

    def get(modality):
        if modality not in there:
            there[modality] = made(modality, tmp_path_factory.mktemp(modality))
        return there[modality]

    return get


@pytest.fixture(params=TINY)
def model(request, model_of):
    """(modality, model file) of each modality in turn."""
    return request.param, model_of(request.param)


@pytest.fixture
def audio(model_of):
    """The model file of sounds."""
    return model_of("audio")


@pytest.fixture
def points(model_of):
    """The model file of clouds."""
    return model_of("points")


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """A chain for development: certificate, key, root."""
    return new(tmp_path_factory.mktemp("keys"), "Anna")
