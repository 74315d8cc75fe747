"""Models computed by engines and in low precision: what is made, said, recorded and written."""

import json
import os

import pytest
import torch

import mmdiff
from mmdiff import Request
from mmdiff.cli import export
from mmdiff.config.build import ConfigError
from mmdiff.config.header import ModelFileError, read_header
from mmdiff.engines import memory
from mmdiff.engines.base import Eager, Engine
from mmdiff.engines.memory import Peak, free_bytes
from mmdiff.generation import computing, trial
from mmdiff.generation.reproduce import reproduce
from tests.provenance.models import LABELS, made


@pytest.fixture(scope="module", params=LABELS)
def file(request, tmp_path_factory):
    return made(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    return made("points", tmp_path_factory.mktemp("points"))


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_file_of_low_precision_loads_as_it_is_and_gives_the_samples_of_that_precision(file, tmp_path, precision):
    export.main([str(file), "as=model", f"precision={precision}", f"out={tmp_path / 'low.safetensors'}"])
    low, asked = mmdiff.load(tmp_path / "low.safetensors"), mmdiff.load(file, precision=precision)
    stored = read_header(tmp_path / "low.safetensors")["precision"]
    assert low.settings["precision"] == asked.settings["precision"] == stored
    (a,), (b,), (exact,) = (pipeline.sample(1, seed=3) for pipeline in (low, asked, mmdiff.load(file)))
    assert a.equal(b) and not a.equal(exact)
    with pytest.raises(ModelFileError, match="no change is added"):
        mmdiff.load(tmp_path / "low.safetensors", lora={file: 1.0})
    with pytest.raises(ConfigError, match="already"):
        export.main([str(tmp_path / "low.safetensors"), "as=model", "precision=int8", f"out={tmp_path}/a.safetensors"])


def test_a_sample_records_how_it_was_computed_and_is_made_again_so(points, tmp_path, capsys):
    pipeline = mmdiff.load(points, precision="int8")
    path, = pipeline.save([Request(seed=1)], tmp_path / "samples")
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["precision"]["_target_"] == "mmdiff.engines.precision.Int8"
    assert record["engine"] == {"_target_": "mmdiff.engines.base.Eager"}
    assert record["stack"]["runtime"] == f"torch {torch.__version__}"
    assert reproduce(path, points).equal


class Slow(Engine):
    """PyTorch with a rest."""

    def __call__(self, network, precision, *, key):
        return precision(network)


def test_auto_takes_the_quickest_says_so_and_keeps_to_it(points, monkeypatch, capsys):
    seconds = {"eager": 2.0, "slow": 1.0}
    monkeypatch.setattr(computing, "seconds", lambda run, device: (run(), seconds[names[id(run.args[0])]])[1])
    names = {}

    class Two(Engine):
        def here(self, device, precision):
            return [Eager(), Slow()]

        def __call__(self, network, precision, *, key):
            raise AssertionError

    def settled(key):
        found = mmdiff.load(points)
        own = computing.Computing(found.model, Two(), computing.Float32(), key=key)
        names.update({id(own._with(engine)): engine.name for engine in own.candidates})
        found.computing = own
        found.sample(1)
        return own.engine.name, found.settings["engine"]["_target_"], capsys.readouterr().out

    name, target, said = settled("a key")
    assert name == "slow" and target.endswith("Slow") and "takes slow; a network call takes slow 1 s, eager 2 s" in said
    seconds["slow"] = 3.0
    assert settled("a key")[0] == "slow" and settled("another")[0] == "eager"


def test_what_is_slower_than_pytorch_in_float32_is_told(points, monkeypatch, capsys):
    pipeline = mmdiff.load(points, precision="bf16")
    plain = pipeline.computing.plain
    monkeypatch.setattr(computing, "seconds", lambda run, device: 1.0 if run.args[0] is plain else 2.0)
    pipeline.sample(1)
    pipeline.sample(1)
    assert capsys.readouterr().out.count("is slower here than PyTorch in fp32: a network call takes 2 s, not 1 s") == 1


@pytest.fixture
def cost(monkeypatch, tmp_path_factory):
    """Seconds of a network call by its micro-batch, which a trial finds; nothing was tried before."""
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path_factory.mktemp("trials")))
    found = {1: 1.0, 2: 1.2, 4: 2.0, 8: 4.0, 16: 16.0}

    def timed(call, device):
        return found[len(call())]

    monkeypatch.setattr(trial, "seconds", timed)
    return found


def test_the_micro_batch_that_is_quickest_for_the_job_is_taken_told_and_recorded_and_changes_no_sample(
    points, tmp_path, cost, capsys
):
    pipeline, jobs = mmdiff.load(points), {}
    for n, expected in ((20, 4), (7, 7), (3, 3), (1, 1)):
        cost[7], cost[3] = 2.1, 2.0
        requests = [Request(seed=seed) for seed in range(n)]
        jobs[n] = paths = pipeline.save(requests, tmp_path / str(n), batch_size="auto")
        assert json.loads(paths[-1].with_suffix(".json").read_text())["batch_size"] == expected
        assert f"batch_size=auto takes {expected} for {n} samples; a network call takes each 1 s in 1" in (
            capsys.readouterr().out
        )
    told = pipeline.save([Request(seed=seed) for seed in range(7)], tmp_path / "told", batch_size=7)
    assert [path.read_bytes() for path in told] == [path.read_bytes() for path in jobs[7]]
    assert reproduce(jobs[20][3], points).equal


def test_a_trial_of_micro_batches_is_kept_and_another_machines_choice_replaces_no_file(points, tmp_path, cost, capsys):
    pipeline, requests = mmdiff.load(points), [Request(seed=seed) for seed in range(6)]
    cost[6] = 2.2
    first = pipeline.save(requests, tmp_path, batch_size="auto")
    cost[4] = cost[6] = 100.0
    assert pipeline.batch_size(requests, "auto") == 6 and "as a trial of the same" in capsys.readouterr().out
    before = [path.stat().st_mtime_ns for path in first]
    again = pipeline.save([*requests, Request(seed=6)], tmp_path, batch_size="auto")
    assert [path.stat().st_mtime_ns for path in again[:6]] == before
    assert [json.loads(path.with_suffix(".json").read_text())["batch_size"] for path in again] == [6] * 6 + [2]


def test_no_micro_batch_is_tried_that_does_not_fit_into_the_free_memory(points, monkeypatch, cost, capsys):
    pipeline, requests = mmdiff.load(points), [Request(seed=seed) for seed in range(40)]
    call, _ = pipeline._trial(requests[0])
    size = pipeline.size_of(requests[0])
    taken = {}
    for count in (1, 2, 5):
        with Peak(pipeline.model) as peak:
            pipeline.model.finished(call(pipeline.model, count), **size)
        taken[count] = peak.most
    monkeypatch.setattr(trial, "free_bytes", lambda device: 2 * taken[5])
    assert abs(trial.room(call, pipeline.model, size) - 5) <= 1, "half of what is free, in whole samples"
    monkeypatch.setattr(trial, "free_bytes", lambda device: 0)
    assert pipeline.batch_size(requests, "auto") == 1
    assert "each 1 s in 1\n" in capsys.readouterr().out


def test_a_micro_batch_that_fails_in_a_trial_is_told_and_a_smaller_one_is_taken(points, monkeypatch, capsys):
    def timed(call, device):
        if call.args[1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nmore")
        return 1.0

    monkeypatch.setattr(trial, "seconds", timed)
    pipeline = mmdiff.load(points)
    assert pipeline.batch_size([Request()] * 50, "auto") == 2
    said = capsys.readouterr().out
    assert "batch_size=auto: 4 at once cannot be computed here, 2 can: CUDA out of memory. Tried to allocate" in said
    assert "more" not in said
    monkeypatch.setattr(trial, "seconds", lambda call, device: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pipeline.batch_size([Request()] * 51, "auto")


def test_what_is_free_is_a_number_of_bytes_within_the_limit_of_a_container(tmp_path, monkeypatch):
    free = free_bytes(torch.device("cpu"))
    assert 0 < free < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert free_bytes(torch.device("cpu")) == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(torch.device("cpu")) > 3000


def test_a_network_is_written_for_other_programs_with_what_the_model_is(points, tmp_path):
    export.main([str(points), "as=torch", f"out={tmp_path / 'network.pt2'}"])
    about = {"mmdiff.json": ""}
    program = torch.export.load(tmp_path / "network.pt2", extra_files=about)
    header, pipeline = json.loads(about["mmdiff.json"]), mmdiff.load(points)
    assert header == read_header(points)
    cond = pipeline.model.condition([{}] * 3)
    x, level = torch.randn(3, pipeline.model.codec.channels, 21), torch.rand(3)
    expected = pipeline.model.network(x, level, cond)
    assert (program.module(check_guards=False)(x, level, cond.vector) - expected).abs().max() < 1e-5


@pytest.mark.parametrize(("words", "told"), [
    (["as=onxx", "out=a.onnx"], "onnx"), (["as=onnx", "out=a.pt"], "ends in .onnx"),
    (["as=onnx", "out=a.onnx", "precision=int8"], "leave precision out"),
    (["as=model", "out=a.safetensors"], "precision="),
    (["as=model", "out=a.safetensors", "precision=int9"], "int8"), (["out=a.onnx"], "needs as="),
])
def test_a_mistake_in_an_export_is_told(points, words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=told):
        export.main([str(points), *words])


def test_a_name_of_no_option_and_an_engine_that_cannot_are_refused(points):
    with pytest.raises(ConfigError, match="eager"):
        mmdiff.load(points, engine="eagre")
    with pytest.raises(ValueError, match="engine=onnx: it computes in fp32, not int8"):
        mmdiff.load(points, engine="onnx", precision="int8")
    with pytest.raises(ValueError, match="does not multiply float8"):
        mmdiff.load(points, precision="fp8")
