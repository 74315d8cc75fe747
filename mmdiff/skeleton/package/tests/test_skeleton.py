"""The laws that every adapter keeps."""

from mmdiff.testing import AdapterContract


class TestSkeleton(AdapterContract):
    adapter = "skeleton"
