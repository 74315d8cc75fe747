"""What is said where torchaudio cannot load."""

import importlib.util
import sys
from pathlib import Path

import pytest

import mmdiff.adapters.audio as audio


def test_a_torchaudio_that_does_not_load_is_an_import_error_with_versions_and_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    spec = importlib.util.spec_from_file_location("audio_again", Path(audio.__file__))
    with pytest.raises(ImportError, match=r'torch \d+\.\d+.*torchaudio \d.*pip install "torch>=2\.11,<2\.15"'):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
