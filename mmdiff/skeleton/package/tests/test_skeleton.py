"""The laws that every adapter keeps."""

from mmdiff.testing import AdapterContract


class TestSkeleton(AdapterContract):
    """Each law is a test of its own."""

    adapter = "skeleton"
