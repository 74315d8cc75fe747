"""Model files and run directories of anybody are data: whatever they say, nothing acts, and the answer is one line."""

import contextlib
import importlib
import inspect
import json
import pkgutil
import shutil
import struct
import sys
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from safetensors.torch import save

import mmdiff
from mmdiff.adapters.audio.vocoder import Vocoder
from mmdiff.adapters.base import Codec, Conditioner
from mmdiff.adapters.prompts import Prompt
from mmdiff.adapters.public import PublicModel
from mmdiff.adapters.texts import Bytes, TextEncoder
from mmdiff.adapters.video.codec import PixelCodec
from mmdiff.adapters.video.coder import FilmCoder
from mmdiff.config.adapter import build_codec, build_learner
from mmdiff.config.build import ConfigError
from mmdiff.config.files import MODEL_FILE, load_yaml
from mmdiff.config.header import ModelFileError
from mmdiff.config.overrides import composed
from mmdiff.core.given import Given
from mmdiff.core.grids import Grid
from mmdiff.core.grids import UniformGrid as Even
from mmdiff.core.guidance import Guidance
from mmdiff.core.parameterizations import Parameterization
from mmdiff.core.samplers import Sampler
from mmdiff.core.schedules import Linear, Schedule
from mmdiff.core.times import TimeDistribution, UniformTime
from mmdiff.core.types import Condition
from mmdiff.core.weightings import Weighting
from mmdiff.data.coupling import Coupling
from mmdiff.data.reader import Reader
from mmdiff.evaluation.evaluated import open_run
from mmdiff.generation.pipeline import load
from mmdiff.nn.network import Network
from mmdiff.nn.unet1d import UNet1d
from mmdiff.store import load_model
from mmdiff.training.run import assemble
from mmdiff.training.trainer import build_trainer
from mmdiff.weights import digest
from tests.conftest import TINY

ACTS = {"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "socket.connect", "socket.getaddrinfo",
        "socket.bind", "urllib.Request", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"}
COMPILING = {"open", "os.mkdir", "os.rename", "os.remove"}
"""What Python does with code when it imports it for the first time."""
CODE = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[1]), "/proc/", "/sys/")
URL = "http://127.0.0.1:9/${oc.env:SECRET}"
seen: list[tuple[str, str]] | None = None


def _hook(event: str, arguments: tuple) -> None:
    if seen is None:
        return
    first = arguments[0] if arguments else ""
    code = event in COMPILING and (isinstance(first, int) or str(first).startswith(CODE))      # a descriptor is no path
    if not code and (event in ACTS or event == "open"):
        seen.append((event, str(arguments)))


sys.addaudithook(_hook)


@contextlib.contextmanager
def watched():
    """What the process does to files, network and processes, code that is imported aside."""
    global seen
    seen = found = []
    try:
        yield found
    finally:
        seen = None


@pytest.fixture(scope="module")
def model():
    """A model file's header and tensors, of a model that was not trained."""
    config = composed("train", ["run=x", *TINY])
    OmegaConf.resolve(config)
    codec, reader = build_codec(config.adapter)
    built = build_learner(config, codec, reader, fields={"label": ["a", "b"]})
    stored = {name: OmegaConf.to_container(config[name]) for name in ("adapter", "diffusion", "sampler", "guidance")}
    stored["adapter"]["conditioner"]["fields"] = {"label": ["a", "b"]}
    stored["size"] = {"seconds": 0.25}
    return {"format": 1, "config": stored, "step": 1}, {k: v.contiguous() for k, v in built.state_dict().items()}


def written(path: Path, header, tensors) -> Path:
    """A model file with a true hash, as whoever crafts one would make it."""
    header = dict(header)
    header["sha256"] = digest(header, tensors)
    path.write_bytes(save(tensors, {"mmdiff": json.dumps(header)}))
    return path


LATENTS = {"_target_": "mmdiff.cache.latents.Latents", "root": URL}
METRICS = {"_target_": "mmdiff.training.metrics.MetricsCsv", "path": "victim.csv", "start": -1}
FOLDER = {"_target_": "mmdiff.data.folders.FolderDataset", "root": "/"}
CRAFTED = {                                                           # where in the configuration, what is put there
    "a data set that asks the network": ("adapter.codec", LATENTS),
    "the same within a part": ("adapter.codec.vocoder", LATENTS),
    "the same in a list": ("adapter.network.multipliers", [LATENTS]),
    "the same in a mapping": ("adapter.conditioner.fields", {"label": LATENTS}),
    "the same as a label": ("adapter.conditioner.fields", {"label": ["a", LATENTS]}),
    "a table that empties itself": ("sampler", METRICS),
    "the same as a grid": ("sampler", {"_target_": "mmdiff.core.samplers.Heun", "grid": METRICS}),
    "a folder that is read": ("diffusion.weight", FOLDER),
    "a class of torch that starts processes": (
        "guidance", {"_target_": "torch.distributed.elastic.multiprocessing.api.MultiprocessContext"}),
    "a data loader": ("adapter.reader", {"_target_": "torch.utils.data.DataLoader", "dataset": [], "num_workers": 2}),
    "a network of torch": ("adapter.network", {"_target_": "torch.nn.parallel.DistributedDataParallel"}),
    "a function": ("adapter.codec", {"_target_": "mmdiff.cache.encode.encode", "out": "x"}),
    "a program": ("adapter.codec", {"_target_": "os.system", "command": "touch victim"}),
    "the trainer": ("sampler", {"_target_": "lightning.pytorch.Trainer", "default_root_dir": "victim"}),
    "arguments by position": ("sampler", {"_target_": "mmdiff.core.samplers.Auto", "_args_": [5]}),
    "a name imported by a module": ("adapter.reader", {"_target_": "mmdiff.adapters.audio.io.Path"}),
    "a private module of the command line": ("adapter.reader", {"_target_": "mmdiff.__main__.main"}),
    "a base class": ("diffusion.schedule", {"_target_": "mmdiff.core.schedules.Schedule"}),
    "no class": ("diffusion.schedule", "linear"),
    "a number for a class": ("diffusion.schedule", {"_target_": 3}),
    "text for a number": ("adapter.network.base", "8; import os"),
    "a setting that follows from others": ("adapter.network.channels", 10**9),
    "a shift that is text": ("diffusion.shift", "1"),
    "an unknown part of a formulation": ("diffusion.hook", LATENTS),
    "a size that is text": ("size", {"seconds": "1; import os"}),
    "no size": ("size", None),
    "a size below nothing": ("size", {"seconds": -1}),
    "no sampler": ("sampler", None),
    "text for guidance": ("guidance", "cfg"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_model_file_is_refused_in_words_and_nothing_acts(model, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "secret")
    Path("victim.csv").write_text("step,loss\n1,2\n")
    key, value = CRAFTED[name]
    header = json.loads(json.dumps(model[0]))
    part = header["config"]
    *parents, leaf = key.split(".")
    for parent in parents:
        part = part[parent]
    part[leaf] = value
    path = written(tmp_path / "crafted.safetensors", header, model[1])
    with watched() as acts, pytest.raises((ModelFileError, ConfigError)) as error:
        load(path, device="cpu")
    assert "secret" not in str(error.value) and "\n" not in str(error.value)
    assert [a for a in acts if "crafted.safetensors" not in a[1]] == []
    assert Path("victim.csv").read_text() == "step,loss\n1,2\n" and not Path("victim").exists()


def test_text_of_a_model_file_is_never_resolved(model, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "secret")
    header = json.loads(json.dumps(model[0]))
    header["config"]["adapter"]["conditioner"]["fields"] = {"label": ["${oc.env:SECRET}", "b"]}
    pipeline = load(written(tmp_path / "x.safetensors", header, model[1]), device="cpu")
    assert pipeline.model.conditioner.fields == {"label": ("${oc.env:SECRET}", "b")}


HEADERS = {
    "no mapping": [1, 2], "no configuration": {"format": 1}, "a list for a configuration": {"format": 1, "config": []},
    "no adapter": {"format": 1, "config": {}}, "a later format": {"format": 10**6, "config": {}},
    "text for a format": {"format": "x", "config": {}},
    "null for an adapter": {"format": 1, "config": {"adapter": None}},
    "text for an adapter": {"format": 1, "config": {"adapter": "audio"}},
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_of_another_form_is_refused_in_words(model, name, tmp_path):
    header = HEADERS[name]
    text = header if isinstance(header, list) else {**header, "sha256": digest(header, model[1])}
    (tmp_path / MODEL_FILE).write_bytes(save(model[1], {"mmdiff": json.dumps(text)}))
    with pytest.raises(ModelFileError, match=MODEL_FILE):
        load_model(tmp_path)


def test_a_header_without_end_and_one_nested_without_end_are_refused(model, tmp_path):
    path = tmp_path / MODEL_FILE
    path.write_bytes(struct.pack("<Q", 2**40) + b"{}")
    with pytest.raises(ModelFileError, match="damaged"):
        load_model(path)
    path.write_bytes(save(model[1], {"mmdiff": "[" * 200_000}))
    with pytest.raises(ModelFileError, match="damaged"):
        load_model(path)


@pytest.mark.parametrize(("key", "value"), [
    ("data.root", URL), ("data", {**LATENTS, "root": "x"}), ("adapter.codec", LATENTS), ("trainer", METRICS),
    ("loader", {"_target_": "torch.utils.data.DataLoader", "dataset": []}), ("data", METRICS),
    ("optim", {"_target_": "torch.multiprocessing.spawn.ProcessContext"}),
], ids=str)
def test_a_crafted_run_directory_is_refused_in_words_and_nothing_acts(model, run, key, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "secret")
    Path("victim.csv").write_text("step,loss\n1,2\n")
    written(tmp_path / MODEL_FILE, *model)
    shutil.copy(run / "data.json", tmp_path)
    config = OmegaConf.to_container(composed("train", ["run=x", *TINY]))
    OmegaConf.update(node := OmegaConf.create(config), key, value, merge=False)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(OmegaConf.to_container(node, resolve=False)))
    pipeline = load(tmp_path, device="cpu")
    with watched() as acts, pytest.raises((ConfigError, ValueError)) as error:
        judge_and_continue(tmp_path, pipeline)
    assert "secret" not in str(error.value) and "\n" not in str(error.value)
    own = ("config.yaml", "data.json", "index.json")
    assert [a for a in acts if not any(name in a[1] for name in own)] == []
    assert Path("victim.csv").read_text() == "step,loss\n1,2\n"


def judge_and_continue(run: Path, pipeline) -> None:
    """What is built of a run directory to judge its model, and to train it further."""
    open_run(run, pipeline)
    config = load_yaml(run / "config.yaml")
    build_trainer(config, run, assemble(config, run).callbacks)


ROLES = (
    Codec, Reader, Conditioner, Network, Given, Coupling, Schedule, Parameterization, TimeDistribution, Weighting,
    Sampler, Grid, Guidance, Vocoder, TextEncoder,
)
"""What a model file may name."""
NEEDED = {
    "channels": 4, "cond_dim": 0, "fields": {}, "sample_rate": 8000, "fps": 8.0, "weak": URL, "times": UniformTime(),
    "vocoder": None, "bounds": (-1.0, 1.0), "steps": 4, "shift": 2.0, "mel": "speech_8k",
    "schedule": Linear(), "weights": URL,
    "model": PublicModel(Path("nowhere")), "base": PixelCodec(), "coder": FilmCoder(), "text": Bytes(),
    "elements": ["C", "H"], "grid": Even(), "digest": "0" * 64, "width": 8, "path": URL, "scales": {"a": 2.0},
    "conditions": [], "plain": Condition(), "interval": (0.0, 1.0), "encoder": Bytes(),
    "seconds": 1.0, "downsampling": [8, 32, 32], "network": UNet1d(4, 0), "branch": UNet1d(4, 0), "presence": [0],
    "ratio": 500.0,
}



def loadable() -> list[type]:
    """Every class of mmdiff that a model file may name."""
    for module in pkgutil.walk_packages(mmdiff.__path__, "mmdiff."):
        if module.name.split(".")[1] not in {"cli", "testing", "skeleton", "configs", "__main__", "pytest_plugin"}:
            importlib.import_module(module.name)
    found, waiting = [], list(ROLES)
    while waiting:
        made = waiting.pop()
        waiting += made.__subclasses__()
        if made.__module__.startswith("mmdiff.") and made.__name__[0] != "_" and not inspect.isabstract(made):
            found.append(made)
    return sorted(set(found), key=lambda made: f"{made.__module__}.{made.__qualname__}")


@pytest.mark.parametrize("made", loadable(), ids=lambda made: made.__qualname__)
def test_no_constructor_that_a_model_file_can_reach_touches_files_network_or_processes(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    parameters = inspect.signature(made).parameters
    settings = {
        name: NEEDED[name] for name, p in parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    texts = [name for name, p in parameters.items() if "Path" in str(p.annotation)]
    refused = contextlib.nullcontext()
    if "model" in settings or made is Prompt:                         # of a public model, which is in its folder alone
        refused = pytest.raises(ValueError, match="no folder|is told one text")
    with watched() as acts, torch.device("meta" if issubclass(made, Network) else "cpu"), refused:
        made(**settings, **{name: str(tmp_path / "file") for name in texts if name not in settings})
    assert acts == []
    assert list(tmp_path.iterdir()) == []
