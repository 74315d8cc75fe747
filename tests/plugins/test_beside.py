"""Readers of packages: a file beside a sample that is longer would be cropped at another place, and is told."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mmdiff.data.folders import FolderDataset

ROOT = Path(__file__).parents[2]
READERS = {
    "skeleton": ("mmdiff/skeleton/package/mmdiff_skeleton/adapter.py", "SkeletonReader", {"length": 8}),
    "biosignals": ("examples/biosignals/mmdiff_biosignals/codec.py", "SignalReader",
                   {"sample_rate": 8.0, "seconds": 1.0}),
}


def reader(name):
    path, kind, arguments = READERS[name]
    spec = importlib.util.spec_from_file_location(f"{name}_read", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, kind)(channels=1, **arguments)


def written(path, x):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, x)
    else:
        np.savez(path, signal=x)


@pytest.mark.parametrize("name", list(READERS))
def test_a_file_beside_a_sample_is_cropped_with_it_or_told(name, tmp_path):
    own = reader(name)
    series = np.arange(40, dtype=np.float32)[None]
    for i, beside in enumerate((-series, -np.arange(60, dtype=np.float32)[None])):
        written(tmp_path / f"root/{i}{own.suffixes[0]}", series)
        written(tmp_path / f"maps/{i}{own.suffixes[0]}", beside)
    with pytest.warns(UserWarning, match="1 of 2 samples in .* are told no map companion; 1.*has 60.* its sample 40"):
        data = FolderDataset(own, tmp_path / "root", maps={"companion": tmp_path / "maps"})
    assert [list(data.mapped(i)) for i in range(2)] == [["companion"], []]
    for seed in range(8):
        sample, other = (data.read(0, np.random.default_rng(seed))[0],
                         data.beside(0, np.random.default_rng(seed))["companion"])
        assert (sample == -other).all()
