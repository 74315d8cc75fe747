"""For pytest: the fixture ``trial`` that the laws of ``mmdiff.testing.AdapterContract`` are tried on.

Nothing is imported before a test asks for it.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .trial import Trial


@pytest.fixture(scope="class")
def trial(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> "Trial":
    """The adapter that the test's class names, composed and built."""
    from mmdiff.testing import Trial

    contract = request.cls
    return Trial(contract.adapter, contract.overrides, tmp_path_factory.mktemp("trial"))
