"""``mmdiff sample RUN [n=16 seed=0 cond.FIELD=VALUE requests=TABLE out=DIR sampler=... guidance=... key=value]``.

RUN is a run directory or a model file. ``mode=extend input=clip.mp4 seconds=8`` starts from a file (also interpolate,
inpaint and complete); ``size.NAME=VALUE`` is a size in a word that only this modality knows. Sampler and guidance are
those that the model was trained with, unless named (``sampler=ddim``) or changed (``sampler.steps=20``). ``shard=2/8``
makes the second eighth of the job; under torchrun each process makes its share.
"""

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..config import ConfigError, parameters
from ..data.labels import suggest
from .overrides import composed

OPTIONS = ("mesh",)
LATE = ("cond", "sampler", "guidance", "size")
SIZES = ("seconds", "frames", "height", "width", "points")


def main(arguments: list[str]) -> int:
    """Generate files with sidecars and a picture of them."""
    config, changes = parsed(arguments)
    if OmegaConf.is_missing(config, "run"):
        raise ConfigError("say what to sample from: mmdiff sample RUN, a run directory or a model file")
    if "--cfg" in arguments:
        print(OmegaConf.to_yaml(config))
        return 0

    from ..generate import Pipeline, load
    from .encode import share_of

    share = share_of(config.shard)
    pipeline = load(config.run, device=config.device or _device())
    settings = {name: setting(pipeline.settings[name], config, changes, name) for name in ("sampler", "guidance")}
    pipeline = Pipeline(pipeline.model, pipeline.header, **settings)
    told = {name: OmegaConf.to_container(changes.get(name, OmegaConf.create())) for name in ("cond", "size")}
    requests = _requests(config, **told, words={*SIZES, *pipeline.size})
    out = Path(config.out or _beside(Path(config.run))).expanduser()
    options = {name: config[name] for name in OPTIONS if config[name] is not None}
    options |= {name: config[name] for name in ("batch_size", "suffix", "replace")}
    paths = pipeline.save(requests, out, shard=share, **options)
    if len(paths) < len(requests):
        print(f"{len(paths)} file(s) of {len(requests)} in {out}; the rest is the work of other shards")
        return 0
    pictures = pipeline.pictures(requests, paths, out)
    print(f"{len(paths)} file(s) in {out}, to look at in {', '.join(path.name for path in pictures)}")
    return 0


def parsed(arguments: list[str]) -> tuple[DictConfig, DictConfig]:
    """The configuration, and what is said of things that only the model knows: ``cond.``, ``sampler.`` and so on."""
    words = [f"run={a}" if i == 0 and "=" not in a else a for i, a in enumerate(arguments)]
    late = [w for w in words if w.startswith(tuple(f"{name}." for name in LATE))]
    return composed("sample", [w for w in words if w not in late]), OmegaConf.from_dotlist(late)


def _beside(run: Path) -> Path:
    return (run if run.is_dir() else run.parent) / "samples"


def _device() -> str | None:
    """The GPU of this process where torchrun started several."""
    import torch

    return f"cuda:{os.environ['LOCAL_RANK']}" if "LOCAL_RANK" in os.environ and torch.cuda.is_available() else None


def setting(stored: dict[str, Any], config: DictConfig, changes: DictConfig, name: str) -> dict[str, Any]:
    """The stored node, or the chosen option, with single values changed."""
    node = stored if config.get(name) is None else OmegaConf.to_container(config[name])
    for key in changes.get(name, {}):
        known = list(parameters(node["_target_"]))
        if key not in known:
            raise ConfigError(f"no key '{name}.{key}'; {suggest(str(key), known)}")
    return OmegaConf.to_container(OmegaConf.merge(node, changes.get(name, {})))


def _requests(config: DictConfig, cond: dict[str, Any], size: dict[str, float], words: set[str]) -> list:
    from ..data.tables import read_table
    from ..generate import Request

    size = {**{name: config[name] for name in SIZES if config[name] is not None}, **size}
    edit = _edit(config)
    if config.requests is None:
        if config.n < 1:
            raise ConfigError(f"n={config.n}: ask for at least one sample")
        return [Request(seed=config.seed + i, labels=cond, size=size, edit=edit) for i in range(config.n)]
    rows = [{k: v for k, v in row.items() if v is not None} for row in read_table(config.requests)]
    if not rows:
        raise ConfigError(f"{config.requests} holds no request")
    requests = []
    for i, row in enumerate(rows):
        where = f"{config.requests}, row {i + 1}"
        seed = _number(row.pop("seed", config.seed + i), "seed", int, where)
        own = {k: _number(row.pop(k), k, float, where) for k in words if k in row}
        name = row.pop("name", None)
        requests.append(Request(seed=seed, name=name, size={**size, **own}, labels={**cond, **row}, edit=edit))
    return requests


def _number(value: Any, name: str, kind: type, where: str) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{where}: {name} is a {'whole ' if kind is int else ''}number, got {value!r}") from None


def _edit(config: DictConfig):
    from ..editing import Edit

    told = {name: config[name] for name in ("keep", "overlap", "hole") if config[name] is not None}
    if config.mode is None and config.input is None and not told:
        return None
    if config.mode is None or config.input is None:
        raise ConfigError("to start from a file give both mode= and input= (keep=, overlap= and hole= go with them)")
    if "hole" in told:
        told["hole"] = tuple(float(s) for s in told["hole"])
    return Edit(config.mode, Path(config.input).expanduser(), **told)
