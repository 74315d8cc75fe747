"""The laws that every adapter keeps."""

from mmdiff.testing import AdapterContract


class TestBiosignals(AdapterContract):
    adapter = "biosignals"
