"""The model file: one safetensors file with the weights that generate, and in its header all that builds the model.

    header.mmdiff = JSON {format, config, bases, step, ..., sha256},      sha256 = hash of its rest and of every tensor

A file of a change (``mmdiff.change``) is one too: its header has the path of its ``base``, of the hash bases[0].sha256.
No pickle is involved in writing or reading it. A changed byte, a truncated file or a foreign class is an error that
names the file and the fault.
"""

import copy
import math
import os
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Gt
from omegaconf import DictConfig
from torch import Tensor

from .adapters.autoencoder import Autoencoder
from .adapters.base import Codec
from .change import Change, apply
from .config.adapter import build_codec, build_learner, parts
from .config.build import ConfigError, build, part, plain
from .config.header import ModelFileError, chain, model_file, read_header
from .config.kinds import KindError, check
from .data.dataset import Dataset, spread
from .data.labels import Fields, grown, plain_fields
from .engines.precision import Precision
from .learner import Learner
from .model import DiffusionModel
from .nn.branch import Branched
from .nn.tensors import load_tensors
from .weights import read_model_file, write_model_file

WHITENING = ("mean", "std", "low", "high")
"""Buffers that a codec measures on the training set."""
SIZED = 101
"""Samples of which the middle one by size is what a request without a size gets."""
Scales = Mapping[str, float] | Mapping[Path, float]
"""Changes of a model, each a run or file, and by what they are multiplied."""


def model_config(config: DictConfig, codec: Codec, dataset: Dataset) -> dict[str, Any]:
    """What a model file keeps of a resolved training configuration: the parts that make what is trained, what the data
    can tell, and the size of a usual sample."""
    stored = {name: plain(config[name]) for name in parts(config)}
    if "conditioner" in stored["adapter"]:
        stored["adapter"]["conditioner"]["fields"] = plain_fields(dataset.fields)
    sizes = [dataset.size(i) or codec.size(dataset.read(i)[0]) for i in spread(len(dataset), SIZED)]
    stored["size"] = usual(sizes)
    return stored


def usual(sizes: Sequence[dict[str, float]]) -> dict[str, float]:
    """The middle one by volume: a size that occurs, which medians of each number alone need not be."""
    ordered = sorted(sizes, key=lambda size: (math.prod(size.values()), *size.values()))
    return dict(ordered[(len(ordered) - 1) // 2])


def save_model(model: Learner, config: dict[str, Any], path: str | Path, **facts: Any) -> str:
    """Write ``model`` with its resolved ``config`` and further ``facts`` (such as ``step``); gives the file's hash.

    Raises ``ModelFileError`` for a model with a branch, which is two networks."""
    if isinstance(model.network, Branched):
        raise ModelFileError(f"{path} cannot hold a model with a branch, which is asked beside the network of its "
                             "base: leave the two as they are, mmdiff sample BASE lora=BRANCH")
    return write_model_file(path, model.stored.state_dict(), config, {"holds": model.holds, **facts})


def save_change(
    tensors: Mapping[str, Tensor], config: dict[str, Any], path: str | Path, *, base: str | Path,
    bases: Sequence[dict[str, Any]], **facts: Any,
) -> str:
    """Write a change of the model at ``base``, the first of ``bases``, as ``save_model`` writes a model."""
    relative = os.path.relpath(Path(base).resolve(), Path(path).resolve().parent)
    return write_model_file(path, tensors, config, {"holds": "change", "base": relative, "bases": list(bases), **facts})


def is_branch(header: Mapping[str, Any]) -> bool:
    """Whether the file of a change says that this acts only where a map is told."""
    return bool(header.get("branch", False))


def chosen_device(name: str | None) -> str:
    """The device of that name, or the best there is: of several GPUs that of this process. Raises ``ConfigError`` where
    this machine has no such."""
    if name is None:
        rank = int(os.environ.get("LOCAL_RANK", 0))
        return f"cuda:{rank % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"device is one that this machine has, such as cpu or cuda:0 (see mmdiff doctor), got {name!r}: {reason}"
        ) from None
    return name


def load_model(
    path: str | Path, *, lora: Scales | None = None, base: str | Path | None = None,
    encoder: str | Path | None = None, device: str | torch.device = "cpu",
) -> tuple[DiffusionModel, dict[str, Any]]:
    """The model of a run directory or model file, ready to generate, and its header.

    Raises ``ModelFileError`` where it holds something else, which does not generate.
    ``lora`` adds changes of this model, each a run or file with its scale; the header then lists them under ``lora``.
    ``base`` is where the model is that a change at ``path`` itself was made of, and ``encoder`` the folder of its text
    encoder, if they have moved.
    """
    model, header = load_learner(path, base=base, encoder=encoder)
    model = generating(model, path)
    if lora and "precision" in header:
        raise ModelFileError(f"{path} is a file of low precision, to which no change is added: take the model that it "
                             "was made of, and export that with lora=")
    if lora:
        model, header = _with(model_file(path), header, model, lora, encoder)
    return model.to(device).eval().requires_grad_(False), header


def load_learner(
    path: str | Path, *, base: str | Path | None = None, encoder: str | Path | None = None
) -> tuple[Learner, dict[str, Any]]:
    """What a run directory or model file holds, whatever it is, and its header; ``base`` and ``encoder`` as in
    ``load_model``."""
    path = model_file(path)
    header, tensors = read_model_file(path)
    if "base" in header:
        start = load_model(_base(path, header, base), encoder=encoder)[0]
        change = Change(tensors, _fields(path, header, start.conditioner.fields), 1.0, str(path), is_branch(header))
        return _changed(path, header["config"], start, [change], encoder), header
    if base is not None:
        raise ModelFileError(f"{path} is a whole model, and has no base: leave base= out")
    model = built(path, header.get("config"), encoder)
    try:
        if "precision" in header:
            build(header["precision"], Precision).stored(generating(model, path).network)
        model.stored.load_state_dict(tensors)
    except (RuntimeError, ValueError) as error:
        raise ModelFileError(f"{path}: {' '.join(str(error).split())}") from error
    return model if "precision" not in header else model.float(), header


def generating(model: Learner, path: str | Path) -> DiffusionModel:
    """The same, where it generates. Raises ``ModelFileError`` where the file at ``path`` holds something else."""
    if not isinstance(model, DiffusionModel):
        raise ModelFileError(f"{path} holds a {model.holds}, and here a diffusion model is asked for, which generates")
    return model


def fill(codec: Codec, config: DictConfig, source: Path | None = None) -> dict[str, Any] | None:
    """Read the weights of the codec that ``codec=`` names, or those in the model file ``source`` that has it, where
    there is one; what it measures on a training set is left. Gives the facts of that file."""
    if source is None and config.get("codec") is None:
        return None
    path = source or model_file(config.codec)
    header, tensors = read_model_file(path)
    measured = {name: value for name, value in codec.state_dict().items() if name in WHITENING}
    stored = {name.removeprefix("codec."): value for name, value in tensors.items() if name.startswith("codec.")}
    try:
        load_tensors(codec, {**stored, **measured})
    except ValueError as error:
        raise ModelFileError(f"{path if config.get('codec') is None else f'codec={config.codec}'}: {error}") from None
    return header.get("codec") if source else chain(path, header)[0]


def check_trained(codec: Codec, config: DictConfig) -> None:
    """Raise ``ConfigError`` for a codec that has yet to learn (weights that are given do not) where none is named."""
    learns = isinstance(codec, Autoencoder) and any(p.requires_grad for p in codec.coder.parameters())
    if config.get("codec") is None and learns:
        raise ConfigError("adapter.codec is an Autoencoder that has learned nothing: train it (experiment=.../codec), "
                          "and name that run by codec=, under an adapter of its modality")


def built(path: Path, config: Any, encoder: str | Path | None = None) -> Learner:
    """What a configuration describes, its weights yet to come."""
    try:
        adapter = part(config, "adapter")
        if encoder is not None:
            placed(adapter, encoder)
        model = build_learner(config, *build_codec(adapter))
        check(part(config, "size"), dict[str, Annotated[float, Gt(0)]], key="size")
    except (ConfigError, KindError, RuntimeError) as error:
        raise ModelFileError(f"{path}: {' '.join(str(error).split())}") from error
    return model


def placed(adapter: dict[str, Any], encoder: str | Path) -> None:
    """Name the folder of a public model, or of a text encoder, anew. Raises ``ConfigError`` where the model refers to
    none."""
    if adapter.get("model") is not None:
        adapter["model"] = str(encoder)
    elif "path" in (adapter.get("text") or {}):
        adapter["text"]["path"] = str(encoder)
    else:
        raise ConfigError(f"encoder={encoder}: the model is no public one and reads no text by an encoder of a folder: "
                          "leave it out")


def _changed(
    path: Path, config: Any, start: DiffusionModel, changes: Sequence[Change], encoder: str | Path | None
) -> DiffusionModel:
    """The model of a configuration with the weights of ``start`` and what ``changes`` add to them."""
    model = generating(built(path, config, encoder), path)
    try:
        load_tensors(model.codec, start.codec.state_dict())
        model.network.inherit(start.network)
        model.conditioner.inherit(start.conditioner)
        if model.jumps is not None and start.jumps is not None:
            load_tensors(model.jumps, start.jumps.state_dict())
        elif model.jumps is not None:
            model.jumps.blank()
    except ValueError as error:
        raise ModelFileError(f"{path} does not fit its base: {error}") from error
    try:
        apply(model, start, changes)
    except ValueError as error:
        raise ModelFileError(str(error)) from error
    return model


def _with(
    path: Path, header: dict[str, Any], model: DiffusionModel, lora: Scales,
    encoder: str | Path | None,
) -> tuple[DiffusionModel, dict[str, Any]]:
    """A model with changes of it, and its header with what they add to it."""
    changes: list[Change] = []
    facts, fields = list(header.get("lora", [])), model.conditioner.fields
    if not isinstance(lora, Mapping) or not all(isinstance(name, str | Path) for name in lora):
        raise ModelFileError(f'lora is a mapping of runs or files to scales, {{"runs/mine": 0.8}}, got {lora!r}')
    config = copy.deepcopy(header["config"])
    for name, scale in lora.items():
        stored, tensors = read_model_file(found := model_file(name))
        if "base" not in stored:
            raise ModelFileError(f"lora: {found} is a whole model, and no change of one")
        if (wanted := stored["bases"][0])["sha256"] != header["sha256"]:
            raise ModelFileError(f"lora: {found} is a change of {_named(wanted)}, and {path} is {_named(header)}")
        if not isinstance(scale, Real) or not math.isfinite(scale):
            raise ModelFileError(f"lora: the scale of {found} is a number, got {scale!r}")
        if stored["sha256"] in [fact["sha256"] for fact in facts]:
            raise ModelFileError(f"lora: {found} is a change that is added already: give it one scale")
        changes.append(Change(tensors, _fields(found, stored, model.conditioner.fields), float(scale), str(found),
                              is_branch(stored)))
        facts.append({**chain(found, stored)[0], "scale": float(scale)})
        config["adapter"]["controls"] = _controls(found, stored, config["adapter"].get("controls") or {})
        if (jumps := part(stored["config"], "diffusion").get("jumps")) is not None:
            config["diffusion"]["jumps"] = jumps
        try:
            fields = grown(fields, changes[-1].fields)
        except ValueError as error:
            there = str(error).partition(" to the model")[0]
            raise ModelFileError(f"lora: {found} and another change have a field of two kinds: {there}") from None
    config["adapter"]["conditioner"]["fields"] = plain_fields(fields)
    return _changed(path, config, model, changes, encoder), {**header, "config": config, "lora": facts}


def _controls(path: Path, header: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """The maps ``known`` so far and those that a change adds. Raises ``ModelFileError`` where these are others."""
    node = part(header["config"], "adapter").get("controls") or {}
    if not isinstance(node, dict) or (node and known and node != known):
        raise ModelFileError(f"lora: {path} follows the maps {', '.join(node)}, what it is to be added to others: "
                             f"{', '.join(known)}")
    return node or known


def _base(path: Path, header: dict[str, Any], base: str | Path | None) -> Path:
    """Where the model is that the file at ``path`` is a change of. Raises ``ModelFileError`` where it is not there."""
    wanted = header["bases"][0]
    found = Path(base).expanduser() if base else path.parent / header["base"]
    remedy = "name its run or file by base="
    if not found.exists():
        raise ModelFileError(f"{path} is a change of {_named(wanted)}, which is not at {found}: {remedy}")
    if (found_header := read_header(found := model_file(found)))["sha256"] != wanted["sha256"]:
        raise ModelFileError(f"{path} is a change of {_named(wanted)}, and {found} is {_named(found_header)}: {remedy}")
    return found


def _named(facts: Mapping[str, Any]) -> str:
    name = f"{facts['name']} " if "name" in facts else ""
    at = "" if facts.get("step") is None else f"step {facts['step']}, "           # a public model has none
    return f"{name}({at}hash {str(facts['sha256'])[:8]})"


def _fields(path: Path, header: dict[str, Any], known: Fields) -> Fields:
    """What a model with this change can be told: what its base is (``known``), in the same order, and more."""
    try:
        fields = part(part(part(header["config"], "adapter"), "conditioner"), "fields")
        check(fields, Fields, key="fields")
    except (ConfigError, KindError) as error:
        raise ModelFileError(f"{path}: {error}") from None
    try:
        kept = plain_fields(grown(known, fields)) == plain_fields(fields)
    except ValueError:
        kept = False
    if not kept:
        raise ModelFileError(f"{path} does not fit its base: its fields or classes are not those of the base and "
                             "more, in one order")
    return fields
