"""Models computed by engines and in low precision: what is made, said, recorded and written."""

import json

import pytest
import torch

import mmdiff
from mmdiff import Request
from mmdiff.cli import export
from mmdiff.config.build import ConfigError
from mmdiff.config.header import ModelFileError, read_header
from mmdiff.engines.base import Eager, Engine
from mmdiff.generation import computing
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
    monkeypatch.setattr(computing, "_timed", lambda run, model: (run(model), seconds[names[id(model)]])[1])
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
    monkeypatch.setattr(computing, "_timed", lambda run, model: 1.0 if model is pipeline.computing.plain else 2.0)
    pipeline.sample(1)
    pipeline.sample(1)
    assert capsys.readouterr().out.count("is slower here than PyTorch in fp32: a network call takes 2 s, not 1 s") == 1


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
