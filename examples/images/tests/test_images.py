"""The laws that every adapter keeps."""

from mmdiff.testing import AdapterContract


class TestImages(AdapterContract):
    adapter = "images"
