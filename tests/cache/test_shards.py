"""One generation job shared by several processes: the same files, whoever makes them, and one manifest."""

import hashlib
import json
import os
import signal
import time

import pytest

from mmdiff.generation.job import MANIFEST
from tests.training.launch import Job

N = 64


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("[!.]*.wav"))}


@pytest.fixture(scope="module")
def job(run):
    """The words of the command, less ``out`` and ``shard``."""
    return ["sample", run, f"n={N}", "cond.instrument=blown", "sampler.steps=2", "batch_size=8", "device=cpu"]


@pytest.fixture(scope="module")
def alone(job, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    Job(*job, f"out={out}", output=out).wait()
    return out


def test_any_number_of_processes_in_any_order_makes_the_same_files_and_one_manifest(job, alone, tmp_path):
    started = tmp_path / "torchrun"
    Job(*job, f"out={started}", world=4, output=tmp_path).wait()
    parts = tmp_path / "parts"
    for k in (2, 1):
        assert not (parts / MANIFEST).exists()
        Job(*job, f"out={parts}", f"shard={k}/2", output=tmp_path).wait()
    assert "such as 2/8" in Job(*job, f"out={parts}", "shard=3/2", output=tmp_path).wait(2)
    for out in (started, parts):
        assert hashes(out) == hashes(alone) and len(hashes(out)) == N
        assert (out / MANIFEST).read_bytes() == (alone / MANIFEST).read_bytes()
        assert (out / "preview.png").exists()
    rows = [json.loads(line) for line in (alone / MANIFEST).read_text().splitlines()]
    assert {row["file"]: row["sha256"] for row in rows} == hashes(alone)
    assert [row["seed"] for row in rows] == list(range(N))


def test_what_a_killed_process_left_is_made_by_the_rerun_and_nothing_else(job, alone, tmp_path):
    out = tmp_path / "out"
    first = Job(*job, f"out={out}", "shard=1/2", output=tmp_path)
    first.until(lambda: len(list(out.glob("*.json"))) >= 5)
    first.signal(signal.SIGKILL)
    first.wait(-9)
    made = {p.name: os.stat(p).st_mtime_ns for p in out.glob("[!.]*.wav") if p.with_suffix(".json").exists()}
    assert 5 <= len(made) < N // 2
    time.sleep(0.01)
    for k in (1, 2):
        Job(*job, f"out={out}", f"shard={k}/2", output=tmp_path).wait()
    assert hashes(out) == hashes(alone)
    assert {name: os.stat(out / name).st_mtime_ns for name in made} == made
    assert (out / MANIFEST).read_bytes() == (alone / MANIFEST).read_bytes()
