"""A plan tells what a run takes, and why one would fail, before the first step."""

import errno
import os
import shutil
from collections import namedtuple

import pytest
from omegaconf import OmegaConf

import mmdiff.training.plan as planning
from mmdiff.cli.plan import duration, lines, main
from mmdiff.config.build import ConfigError
from mmdiff.config.overrides import composed
from mmdiff.data.dataset import Dataset
from mmdiff.data.loaders import Loading
from mmdiff.training.callbacks import Previews, Validation
from mmdiff.training.plan import buckets, plan

TINY = [
    "adapter=audio", "adapter.reader.seconds=0.25", "adapter.codec.vocoder.n_iter=2", "adapter.network.base=8",
    "adapter.network.multipliers=[1,2]", "adapter.conditioner.dim=16", "data.n=24", "loader.val_samples=2",
    "loader.batch_size=8", "preview.n=1", "preview.every=10", "validation.every=5", "checkpoint.every=5",
    "trainer.max_steps=23", "logger=csv", "trainer=cpu",
]


@pytest.fixture(scope="module")
def tiny():
    return composed("train", TINY)


@pytest.fixture
def run(tmp_path):
    return tmp_path / "runs" / "x"


def changed(config, run, **changes):
    return OmegaConf.merge(config, {"run": str(run)}, OmegaConf.from_dotlist([f"{k}={v}" for k, v in changes.items()]))


def test_a_plan_tries_every_part_and_leaves_nothing(tiny, run):
    found = plan(changed(tiny, run))
    assert (found.train, found.val, found.steps) == (23, 1, 23)
    assert [(b.batch, b.extent, len(b.members)) for b in found.buckets] == [(8, (2000,), 23)]
    assert found.counts == {"validation": 5, "preview": 3, "checkpoint": 5}
    assert set(found.seconds) == {"step", "validation", "preview", "checkpoint", "resume"}
    assert min(found.seconds.values()) > 0 and found.memory["host"] > 2**28
    besides = sum(found.counts[name] * found.seconds[name] for name in found.counts)
    assert found.eta == pytest.approx(23 * found.seconds["step"] + besides)
    assert found.parameters["denoiser"] > 0 and 0 < found.disk < found.free
    text = "\n".join(lines(found))
    assert "23 steps, 8.0 epochs of 2.9" in text and "8 a step" in text
    assert list(run.parent.parent.rglob("*")) == []


class Films(Dataset):
    fields = {}  # noqa: RUF012
    shapes = ((4, 8, 8),) * 5 + ((2, 8, 8),) * 30

    def __len__(self):
        return len(self.shapes)

    def shape(self, index):
        return self.shapes[index]

    def name(self, index):
        return f"film-{index}"

    def read(self, index, rng=None):
        raise AssertionError("the extent is known")


def test_buckets_are_told_with_their_largest_samples_first():
    data = Films()
    small, large = buckets(data, Loading(budget=512, multiple=2).order(data, seed=0, steps=1))
    assert (small.batch, small.extent, small.positions, small.steps) == (4, (2, 8, 8), 512, 7.5)
    assert (large.batch, large.extent, large.positions, large.steps) == (2, (4, 8, 8), 512, 2.5)
    data.extent = lambda index: (index % 5, 1, 1)
    assert buckets(data, Loading(batch_size=2).order(data, seed=0, steps=1))[1].members == [4, 3, 2, 1, 0]


def test_an_empty_bucket_is_told():
    assert planning._missing([(4, 8, 8), (1, 8, 8)], Films()) == [(1, 8, 8)]
    data = Films()
    data.shapes = (None,) * 3                                         # made by code, whatever the reader says
    assert planning._missing([(1, 8, 8)], data) == []


def fails(name):
    def act(*arguments):
        raise RuntimeError(f"{name} has a fault")

    return act


@pytest.mark.parametrize(("where", "name"), [(Previews, "preview"), (Validation, "validation")])
def test_a_preview_or_validation_that_would_fail_is_told(tiny, run, monkeypatch, where, name):
    monkeypatch.setattr(where, "act", fails(name))
    with pytest.raises(ConfigError, match=f"the {name} fails: {name} has a fault"):
        plan(changed(tiny, run))
    assert list(run.parent.parent.rglob("*")) == []


def test_a_run_without_a_batch_is_told(tiny, run):
    with pytest.raises(ConfigError, match="no batch: trainer.max_steps=0"):
        plan(changed(tiny, run, **{"trainer.max_steps": 0}))


def test_a_full_disk_is_told(tiny, run, monkeypatch):
    usage = namedtuple("usage", "free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(1000))
        with pytest.raises(ConfigError, match="the disk is full: the run needs"):
            plan(changed(tiny, run))

    def full(*arguments, **facts):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("mmdiff.training.run.save_model", full)
    with pytest.raises(ConfigError, match="the checkpoint fails: .*No space left"):
        plan(changed(tiny, run))


def test_the_command_prints_a_plan_or_the_reason(run, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["mmdiff"])
    main([*TINY, f"run={run}"])
    assert "resume      works" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="sampler.steps|steps"):
        main([*TINY, f"run={run}", "sampler.steps=0"])
    assert not run.exists()


def test_times_are_told_in_two_units():
    assert [duration(s) for s in (3.4, 75, 3700)] == ["3 s", "1 min 15 s", "1 h 1 min"]
