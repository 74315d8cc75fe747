"""What several tests share: small training runs through the real command, and the real data where they are present."""

import copy
import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from mmdiff.config import inherit, overrides, plugins
from tests import warm

TINY = [
    "data.n=48", "adapter.network.base=8", "adapter.network.multipliers=[1,2]", "adapter.conditioner.dim=16",
    "adapter.reader.seconds=0.25", "adapter.codec.vocoder.n_iter=2", "loader.batch_size=8", "loader.val_samples=4",
    "preview.n=0", "validation.every=4", "checkpoint.every=4", "log.every=1", "logger=csv", "trainer=cpu",
]
"""Overrides that make the audio preset train in milliseconds a step."""


@pytest.fixture(autouse=True, scope="session")
def own_cache_folder(tmp_path_factory):
    """What is kept between runs is kept between tests alone."""
    os.environ["MMDIFF_CACHE"] = str(tmp_path_factory.mktemp("cache"))


LONGEST = (
    "test_every_key.py", "test_eval.py", "test_lora_runs.py", "test_resume_ranks.py", "test_elsewhere.py",
    "test_packaging.py", "test_faults.py", "test_ranks.py",
)
"""Files that take longest: they come first, so that none is left over to one worker at the end. Of itself xdist would
begin with the files of most cases, hence ``--no-loadscope-reorder``."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; the order within a file stays."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """What is imported and collected is no garbage: nobody looks through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def composed_once():
    """Hydra composes a choice of groups once for all tests of a process; values are set in copies of it."""
    compose, known = overrides.compose, {}

    def kept(name: str, overrides: list[str]):
        key = (name, *overrides, *map(str, plugins.roots().values()))
        if any(inherit.OPTION in line for line in overrides):         # of a model file, which may be another by now
            return compose(name, overrides=overrides)
        if key not in known:
            known[key] = compose(name, overrides=overrides)
        return copy.deepcopy(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overrides, "compose", kept)
        yield


@pytest.fixture(autouse=True)
def few_threads():
    torch.set_num_threads(1)


def command(*arguments: str, env: dict[str, str] | None = None, **options) -> subprocess.Popen:
    """Start ``mmdiff`` in a process of its own, with ``env`` besides what the environment has."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    return subprocess.Popen(
        [sys.executable, "-m", "mmdiff", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env=environment, **options,
    )


def mmdiff(*arguments: str, code: int = 0, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run ``mmdiff`` to its end, check its exit code and give its output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "output"
        told = [str(argument) for argument in arguments]
        returned = warm.run(told, file, env=environment, cwd=cwd or Path.cwd(), seconds=300)
        output = file.read_text()
    assert returned == code, output
    return output


def shared_data(*parts: str) -> Path:
    """A folder of the real data, or a skip with the reason."""
    root = Path(os.environ.get("MMDIFF_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the data set {'/'.join(parts)} is not here; MMDIFF_DATA names the folder that holds it")
    return path


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A finished run of the tiny audio preset, for tests that only read it."""
    path = tmp_path_factory.mktemp("runs") / "tiny"
    mmdiff("train", f"run={path}", *TINY, "trainer.max_steps=8", "preview.n=2", "preview.every=8")
    return path
