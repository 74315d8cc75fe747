"""For pytest: the fixture ``trial`` that the laws of ``mmdiff.testing.AdapterContract`` are tried on.

Nothing is imported before a test asks for it.
"""

import pytest


@pytest.fixture(scope="class")
def trial(request, tmp_path_factory):
    """The adapter that the test's class names, composed and built."""
    from mmdiff.testing import Trial

    contract = request.cls
    return Trial(contract.adapter, contract.overrides, tmp_path_factory.mktemp("trial"))
