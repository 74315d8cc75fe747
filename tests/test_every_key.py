"""No key is silently ignored: change any leaf of any shipped config, and something that is built changes."""

import inspect
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch
import numpy as np
import pytest
import soundfile
import torch
import trimesh
from omegaconf import DictConfig, ListConfig, OmegaConf

from mmdiff.adapters.video.judge import VideoJudge
from mmdiff.adapters.video.write import write_video
from mmdiff.cache.encode import encode
from mmdiff.cli.list import options
from mmdiff.config import adapter
from mmdiff.config.adapter import ROLES
from mmdiff.config.build import ConfigError, build
from mmdiff.config.files import resolved
from mmdiff.config.overrides import composed
from mmdiff.config.record import Record, names
from mmdiff.evaluation.embedders.embedder import Embedder
from mmdiff.evaluation.protocol import Protocol
from mmdiff.marks.base import Mark
from mmdiff.testing.documented import undocumented
from mmdiff.training import run as training
from mmdiff.training import trainer
from mmdiff.training.continuing import continued

GROUPS = [
    "adapter", "adapter/controls", "adapter/text", "data", "diffusion", "diffusion/schedule",
    "diffusion/parameterization", "diffusion/time", "diffusion/weight", "sampler", "guidance", "optim", "trainer",
    "logger", "experiment", "few", "debug", "reconstruction", "reconstruction/latent", "reconstruction/losses",
    "adversary",
]
CODEC = ["diffusion=null", "sampler=null", "guidance=null"]
NEEDS = {                                                             # what an option cannot do without
    "data=folder": ["data.root=sounds"], "experiment=audio/fsdd": ["data.root=sounds"],
    "sampler=jump": ["few=scratch"], "guidance=distilled": ["few=scratch"],
    "guidance=autoguidance": ["guidance.weak=weak"], "guidance=several": ["guidance.scales={instrument: 2.0}"],
    "guidance=composed": ["guidance.also=[{cond: {instrument: blown}, scale: 1.0}]"],
    "diffusion/parameterization=noise": ["diffusion/schedule=vp"], "adapter=audio_small": ["data.n=3"],
    "adapter=audio_base": ["data.n=3"], "data=moving_digits": ["data.root=digits", "adapter=video"],
    "data=latents": ["data.root=latents"], "data=shapes": ["adapter=video"], "data=solids": ["adapter=points"],
    "data=clouds": ["data.root=clouds", "adapter=points"], "experiment=video/scene": ["data.root=films"],
    "experiment=video/forecast": ["data.root=films"],
    "experiment=video/moving_digits": ["data.root=digits"], "experiment=points/ldraw6": ["data.root=clouds"],
    "experiment=video/moving_digits_codec": ["data.root=digits"],
    **{f"experiment=audio/fsdd_{kind}": ["data.root=sounds"] for kind in ("codec", "vocoder")},
    **{f"experiment=points/{name}_codec": ["data.root=clouds", "adapter.reader.points=500"]
       for name in ("ldraw6", "furniture")},
    "experiment=points/furniture": ["data.root=meshes"], "adapter=points": ["data=solids"],
    "adapter=molecules": ["data=folder", "data.root=molecules"], "experiment=points/molecules": ["data.root=molecules"],
    "data=captioned_shapes": ["adapter=video"], "adapter/text=bytes": ["adapter=video", "data=captioned_shapes"],
    "adapter/text=pretrained": ["adapter=video", "data=captioned_shapes", "adapter.text.path=encoder",
                                "adapter.text.digest=abc", "adapter.text.width=8"],
    "adapter/controls=shadow": ["adapter=points", "data=solids"],
    **{f"adapter/controls={name}": ["adapter=video", "data=shapes"] for name in ("edges", "grey", "low_resolution")},
    "adapter/controls=companion": ["data=folder", "data.root=sounds", "data.maps.companion=others"],
    "adapter/controls=depth": ["adapter=video", "data=folder", "data.root=films", "data.maps.depth=depths"],
    "experiment=video/codec": ["data=shapes"], **{
        f"adapter={kind}_codec{size}": [*CODEC, f"data={data}", f"reconstruction={loss}"]
        for kind, data, loss in (
            ("video", "shapes", "pixels"), ("audio", "notes", "sound"), ("points", "solids", "shapes"),
        ) for size in ("", "_small", "_base")
    },
    "experiment=points/codec": ["data=solids"],
    **{f"reconstruction/latent={name}": ["experiment=video/codec", "data=shapes"]
       for name in ("noisy", "scaled", "shifted", "spectral")},
    **{f"reconstruction/{of}={name}": ["experiment=video/codec", "data=shapes",
                                       f"reconstruction.{of}.{name}.embedder=judge.safetensors"]
       for of, name in (("latent", "aligned"), ("losses", "perceptual"))},
    "reconstruction/losses=assignment": ["experiment=points/codec", "data=solids"],
    "adversary=patch": ["experiment=video/codec", "data=shapes"],
    "reconstruction=shapes": [*CODEC, "adapter=points_codec", "data=solids"],
    **{f"adapter=audio_vocoder{size}": [*CODEC, "data=notes", "reconstruction=spectra"]
       for size in ("", "_small", "_base")},
    "experiment=audio/codec": ["data=notes"], "experiment=audio/vocoder": ["data=notes"],
    "reconstruction=pixels": [*CODEC, "adapter=video_codec", "data=shapes"],
    "reconstruction=sound": [*CODEC, "adapter=audio_codec", "data=notes"],
    "reconstruction=spectra": [*CODEC, "adapter=audio_vocoder", "data=notes"],
    "adapter=points_small": ["data=solids"], "adapter=points_base": ["data=solids"],
}
ELSEWHERE = {
    ("experiment", "personal"), ("few", "paths"), ("few", "consistent"), ("adapter", "wan"), ("adapter", "wan_ti2v"),
    ("adapter", "stable_audio"), ("adapter", "video_wan"), ("adapter", "audio_oobleck"),
    ("adapter", "audio_dac"), ("adapter", "audio_mimi"), ("adapter", "ltx"), ("adapter", "cogvideox"),
    ("adapter", "ace_step"), ("adapter", "points_latent"),
}
STRINGS = {
    "auto": "ddp", "cpu": "gpu", "gpu": "cpu", "ddp": "auto", "silence": "mask", "mask": "silence", "sounds": "others",
    "speech_8k": "speech_8k_48", "speech_8k_48": "speech_8k", "hifigan_22k": "speech_8k", "weak": "weaker",
    "independent": "blocks", "assignment": "independent", "high": "highest",
    "judge.safetensors": "other.safetensors",
}


class Recorder(lightning.pytorch.Trainer):
    """Stands for the Lightning trainer, whose accelerators this machine may not have."""

    __module__ = "lightning.pytorch"                                  # where a class is defined must be allowed
    __signature__ = inspect.signature(lightning.pytorch.Trainer, eval_str=True)

    def __init__(self, **settings):
        unknown = set(settings) - set(inspect.signature(REAL_TRAINER).parameters)
        assert not unknown, unknown
        self.settings = settings

    @property
    def precision(self) -> str | int | None:
        return self.settings.get("precision")


REAL_TRAINER = lightning.pytorch.Trainer


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Two folders of each kind of data, made once: the first is named by ``NEEDS``, the other is tried in its place."""
    root = tmp_path_factory.mktemp("sources")
    for folder in ("sounds", "others"):
        (root / folder).mkdir()
        for digit, speaker, index in [(0, "ann", 0), (1, "bob", 1), (1, "ann", 4), (0, "bob", 7)]:
            wave = np.sin(np.arange(8000 + 100 * index) / 9)
            soundfile.write(root / folder / f"{digit}_{speaker}_{index}.wav", wave, 8000)
    for folder, n in (("digits", 6), ("digitsx", 7)):
        (root / folder).mkdir()
        arrays = {
            f"{axis}_{split}": np.resize(np.arange(200, dtype=np.uint8), (n, 28, 28) if axis == "x" else n)
            for axis in "xy" for split in ("train", "test")
        }
        np.savez(root / folder / "mnist.npz", **arrays)
    for folder, n in (("clouds", 4), ("cloudsx", 5)):
        (root / folder).mkdir()
        points = np.random.default_rng(0).standard_normal((n, 600, 3)).astype(np.float32)
        np.savez(root / folder / "a.npz", points=points, label=np.arange(n) % 2, classes=np.array(["a", "b"]),
                 test=np.arange(n) == 0, cls=np.array(["a", "b", "a", "b", "a"][:n]))
        (root / f"meshes{folder[6:]}").mkdir()
        for name in ("chair_1", "chair_2", "lamp_3", "lamp_4")[:n]:
            trimesh.creation.box().export(root / f"meshes{folder[6:]}" / f"{name}.ply")
    for folder, n in (("molecules", 4), ("moleculesx", 5)):
        (root / folder).mkdir()
        for i in range(n):
            (root / folder / f"{i}.xyz").write_text(f"2\n\nC 0 0 0\n{'HNOF'[i % 4]} 0 0 1\n")
    for folder, n in (("latents", 4), ("latentsx", 5)):
        encode(composed("encode", [f"data.n={n}"]), str(root / folder), progress=False)
    for name in ("judge", "other"):
        Embedder(VideoJudge(), {"kind": [name]}, channels=3).save(root / f"{name}.safetensors", {})
    for folder in ("films", "filmsx"):
        (root / folder).mkdir()
        write_video(torch.zeros(1, 60, 64, 64), root / folder / f"{folder}.mkv", 15)
    shutil.copytree(root / "films", root / "depths")
    return root


@pytest.fixture(autouse=True)
def light(sources, monkeypatch):
    """Models without memory, a trainer that only records, the data in the folder that is worked in."""
    def without_memory(*args, **kwargs):
        with torch.device("meta"):
            return made(*args, **kwargs)

    made = adapter.build_adapter
    monkeypatch.setattr(adapter, "build_adapter", without_memory)
    monkeypatch.setattr(lightning.pytorch, "Trainer", Recorder)
    monkeypatch.setattr(trainer, "TensorBoardLogger", lambda *args, **kwargs: ("tensorboard", args, kwargs))
    monkeypatch.chdir(sources)
    monkeypatch.setenv("HOME", str(sources))


def everything(config: DictConfig, record: Record | None = None) -> dict[str, Any]:
    """All that a resolved configuration builds, described; ``record`` is of the run that goes on with it."""
    return describe(built(config, assembled(config, record)))


def assembled(config: DictConfig, record: Record | None = None) -> training.Assembly:
    run = Path(config.run)
    run.mkdir(exist_ok=True)
    return training.assemble(config, run, record=record)


def built(config: DictConfig, parts: training.Assembly) -> dict[str, Any]:
    return {
        "parts": parts, "trainer": trainer.build_trainer(config, Path(config.run), parts.callbacks),
        **{name: build(config[name], role) for name, role in ROLES.items() if name in config},
    }


def describe(value: Any, seen: frozenset[int] = frozenset()) -> Any:
    """A value by its contents, so that two builds can be compared."""
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape), str(value.dtype))
    if value is None or isinstance(value, bool | int | float | str | Path):
        return "nan" if isinstance(value, float) and math.isnan(value) else value
    if id(value) in seen:
        return "..."
    seen = seen | {id(value)}
    if isinstance(value, dict) and value and all(isinstance(k, int) for k in value):
        return describe([*value.values()], seen)                      # hooks, by numbers that count on
    if isinstance(value, dict):
        return {str(k): describe(v, seen) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [describe(v, seen) for v in value]
    if inspect.isclass(value) or inspect.isroutine(value) or not hasattr(value, "__dict__"):
        return getattr(value, "__qualname__", type(value).__qualname__)
    held = {k: v for k, v in vars(value).items() if not isinstance(v, dict) or v}       # a module has ten empty ones
    return type(value).__qualname__, describe(held, seen)


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key in node:
        path = f"{prefix}{key}"
        value = None if OmegaConf.is_missing(node, key) else node[key]
        if isinstance(value, DictConfig):
            yield from leaves(value, path + ".")
        elif key not in {"_target_", "defaults"} and not path.startswith("hydra"):
            yield path, value


def others(value: Any) -> list[Any]:
    """Values to try in place of one."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 2 * value, value // 2]
    if isinstance(value, float):
        return [0.9 * value + 0.013, value + 1]
    if isinstance(value, ListConfig):
        return [OmegaConf.to_container(value)[:-1] if value else ["x"]]
    return [STRINGS.get(value, f"{value}x")]


def files() -> list[tuple[str, str]]:
    more = [("", name) for name in ("eval", "embedder", "sample", "mark_find", "mark_test")]
    more += [(group, name) for group in ("evaluation", "mark", "provenance") for name in options(group)]
    return cases() + more


def cases() -> list[tuple[str, str]]:
    """All but what needs the weights of another model: training/test_personal.py, test_few.py, video/test_wan.py,
    points/test_shape_codec.py."""
    found = [(group, name) for group in GROUPS for name in options(group)]
    return [("", "")] + [case for case in found if case not in ELSEWHERE]


SHOWN: set[tuple[str | None, str]] = set()
"""Keys with the class that takes each, of which it was shown: another file that states one need not show it again."""


@pytest.mark.parametrize(("group", "name"), cases(), ids=lambda v: v.replace("/", "-"))
def test_every_leaf_changes_what_is_built_and_a_continued_run_takes_it_or_refuses_it_by_name(group, name):
    config, keys = chosen(group, name)
    taken = {key: (OmegaConf.select(config, f"{key.rpartition('.')[0] or 'none'}._target_"), key) for key in keys}
    keys = [key for key in keys if taken[key] not in SHOWN]
    SHOWN.update(taken.values())
    own = resolved(config)
    parts = assembled(own)
    whole = built(own, parts)
    if not keys:
        return
    before = describe(whole)
    dataset = parts.module.dataset
    record = Record(Path(own.run), own, [], dataset.fields, names(dataset), names(parts.val_set))
    continued_before = everything(own, record)
    for key in keys:
        if key in ("init", "base"):                                   # a model to begin with: training/test_init.py
            continue
        if not (key != "run" and in_force(own, config, key, record, continued_before)):
            assert changes(own, key, before), f"{group}={name}: nothing that is built depends on {key}"


def in_force(own: DictConfig, config: DictConfig, key: str, record: Record, before: dict[str, Any]) -> bool:
    """Whether a run that goes on with another value of ``key`` builds something else; where not, that is an error."""
    refused, held = False, OmegaConf.select(own, key)
    for value in (value for value in others(held) if value != held):
        try:
            now, changed = continued(record.run, own, config, [f"{key}={json.dumps(value)}"])
            assert changed and all(f"{change.key}.".startswith(f"{key}.") for change in changed)
            if everything(now, record) != before:
                return True
        except (ConfigError, ValueError) as error:
            refused |= key in str(error) or key.split(".")[-1] in str(error) or "has learned" in str(error)
    assert refused, f"a continued run takes {key} and does nothing with it"
    return False


def chosen(group: str, name: str) -> tuple[DictConfig, list[str]]:
    """The configuration of a choice, and the keys that its file states."""
    choice = [f"{group}={name}"] if group else []
    overrides = ["run=run", "data.n=6", *choice, *NEEDS.get(f"{group}={name}", [])]
    sources = ("folder", "fsdd", "digits", "scene", "forecast", "clouds", "ldraw", "furniture", "molecules", "latents")
    if any(part in name for part in sources) or any(word.startswith("data.maps") for word in overrides):
        overrides.remove("data.n=6")
    stated = OmegaConf.load(Path(__file__).parents[1] / "configs" / (f"{group}/{name}.yaml" if group else "train.yaml"))
    prefix = "" if group in {"", "experiment", "few", "debug"} else group.replace("/", ".") + "."
    return composed("train", overrides), [key for key, _ in leaves(stated, prefix)]


def changes(config: DictConfig, key: str, before: dict[str, Any]) -> bool:
    """Whether another value of ``key`` builds something else, or every other value is refused."""
    refused = 0
    candidates = others(OmegaConf.select(config, key))
    for value in candidates:
        changed = OmegaConf.create(OmegaConf.to_container(config))
        OmegaConf.update(changed, key, value)
        try:
            if everything(changed) != before:
                return True
        except (ConfigError, ValueError):
            refused += 1                                              # a value that is refused was read
    return refused == len(candidates)


@pytest.mark.parametrize("name", options("evaluation"))
def test_every_leaf_of_a_protocol_changes_what_is_judged(name):
    file = Path(__file__).parents[1] / "configs" / "evaluation" / f"{name}.yaml"
    config = composed("eval", ["run=run", f"evaluation={name}"]).evaluation
    before = describe(build(config, Protocol))
    for key, value in leaves(OmegaConf.load(file)):
        found = []
        for other in others(value):
            changed = OmegaConf.create(OmegaConf.to_container(config))
            OmegaConf.update(changed, key, other)
            try:
                found.append(describe(build(changed, Protocol)) != before)
            except ConfigError:
                found.append(True)
        assert any(found), f"{file.name}: nothing depends on {key}"


@pytest.mark.parametrize("name", options("mark"))
def test_every_leaf_of_a_mark_changes_what_is_built(name, monkeypatch):
    monkeypatch.setenv("ONE_SECRET", "letters that nobody guesses")
    monkeypatch.setenv("OTHER_SECRET", "others that nobody guesses")
    said = [] if name == "ledger" else ["mark.secret=env:ONE_SECRET", "mark.bits=8", "mark.message=a7"]
    node = OmegaConf.to_container(composed("sample", ["run=run", f"mark={name}", *said]).mark)
    for key in (key for key in node if key != "_target_"):
        other = {"secret": "env:OTHER_SECRET", "message": "a8"}.get(key) or 2 * node[key]
        changed = {**node, key: other, **({"message": "a7a7"} if key == "bits" else {})}
        assert describe(build(changed, Mark)) != describe(build(node, Mark)), key


def test_the_comparison_sees_no_change_where_there_is_none():
    config = composed("train", ["run=run", "data.n=6"])
    assert everything(resolved(config)) == everything(resolved(config))


@pytest.mark.parametrize(("group", "name"), files(), ids=lambda v: v.replace("/", "-"))
def test_every_leaf_has_a_comment(group, name):
    assert undocumented(group, name or "train") == []
