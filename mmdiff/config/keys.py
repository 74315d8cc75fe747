"""What every key of every command takes: one table, and one check of a composed configuration against it.

Keys of a class (``loader.workers``, ``trainer.devices``) are annotated in its constructor and not again here, unless
mmdiff takes less of them than the class.
"""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from omegaconf import DictConfig, OmegaConf

from ..adapters.base import Amount, Count
from ..data.labels import suggest
from ..data.splits import Val
from . import kinds
from .build import ConfigError, target_class

Index = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
"""What all generators take that training and embedders draw from."""
Draw = Annotated[int, Ge(0), Le(2**63 - 1)]
"""A seed of a sample: mmdiff's own generators take 64 bits."""

TRAIN: dict[str, Any] = {
    "run": Path, "init": Path | None, "base": Path | None, "codec": Path | None, "seed": Seed, "compile": bool,
    "recompute": Index, "offload": bool, "matmul": Literal["highest", "high", "medium"],
    "train.only": list[str] | None, "lora": Index | None, "subject": str | None, "dora": bool, "branch": bool,
    "checkpoint.every": Index, "checkpoint.keep": Count, "validation.every": Index,
    "preview.every": Index, "preview.n": Index, "log.every": Count, "logger.tensorboard": bool,
    "trainer.max_steps": Count,
    "trainer.precision": Literal[32, "32", "32-true", "16-mixed", "bf16-mixed"] | None,    # averages are in float32
}
SPLIT: dict[str, Any] = {"loader.val": Val | None, "loader.group": str | None, "loader.by_time": bool | None}
"""How data that are named for a model file are split."""
TABLES: dict[str, dict[str, Any]] = {
    "train": TRAIN,
    "encode": {
        **TRAIN, "out": str | Path, "dtype": Literal["float32", "float16", "bfloat16"], "copies": Count,
        "shard": str | None, "shard_mb": Amount, "device": str | None,
    },
    "sample": {
        "run": Path, "lora": str | None, "base": Path | None, "n": Count, "seed": Draw, "requests": Path | None,
        "out": Path | None, "replace": bool, "record": bool, "audit": Path | None,
        "policy": Path | None, "suffix": str | None,
        "batch_size": Count | Literal["auto"] | None,
        "shard": str | None, "device": str | None, "encoder": Path | None,
        "mode": Literal["extend", "interpolate", "inpaint", "complete"] | None, "input": Path | None,
        "keep": Count | None, "overlap": Index | None, "hole": tuple[float, float] | None,
    },
    "eval": {
        "run": Path, "against": Path | None, "lora": str | None, "base": Path | None, "out": Path | None,
        "root": str | Path | None, **SPLIT,
        "device": str | None, "encoder": Path | None,
    },
    "mark_find": {
        "file": Path, "run": Path, "ledger": Path | None, "secret": str | None, "seeds": Count | None, "shifts": Index,
        "lora": str | None, "base": Path | None, "device": str | None, "encoder": Path | None,
    },
    "mark_test": {
        "run": Path, "n": Annotated[int, Ge(2)], "seed": Draw, "seeds": Count, "rate": Annotated[float, Gt(0), Le(0.5)],
        "shifts": Index, "quality": bool, "out": Path | None, "root": str | Path | None, "lora": str | None,
        "base": Path | None, "device": str | None, "encoder": Path | None, **SPLIT,
    },
    "embedder": {"run": Path, "out": Path, "root": str | Path | None, "steps": Count, "seed": Seed, **SPLIT},
}
SOME: dict[str, Any] = {"adapter.model": Path}
"""Keys of no class that some choices have."""
PARTS = {"quality": "mmdiff.training.quality.Quality", "ema.*": "mmdiff.training.ema.Ema"}
"""Parts of a configuration that are arguments of one class, which they do not name."""


def annotation(command: str, config: DictConfig, key: str) -> Any:
    """What a key takes; ``Any`` where nobody says. ``config`` tells the classes."""
    if key in (table := {**SOME, **TABLES[command]}):
        return table[key]
    parent, _, leaf = key.rpartition(".")
    if (named := values_of_names(command, config, parent)) is not None:
        return named
    node = OmegaConf.select(config, parent) if parent else None
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    taken = _annotations(str(target) if target else _implied(parent))
    if isinstance(node, DictConfig) and not target and leaf not in taken:          # one of several parts, by its name
        return kinds.item(annotation(command, config, parent))
    return taken.get(leaf, Any)


def values_of_names(command: str, config: DictConfig, key: str) -> Any:
    """What each name takes below a key that is a mapping by names of the user's, such as ``data.maps``; None of others.
    """
    taken = annotation(command, config, key) if key else Any
    of = [one for one in (taken, *get_args(taken)) if get_origin(one) is Mapping and get_args(one)[:1] == (str,)]
    return get_args(of[0])[1] if of else None


def checked(command: str, config: DictConfig) -> DictConfig:
    """The same configuration. Raises ``ConfigError`` that names the key, what it takes and what it was given."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    for key, value, taken in _settings(TABLES[command], plain):
        try:
            kinds.check(value, taken, key=key)
        except kinds.KindError as error:
            raise ConfigError(str(error)) from None
    return config


def _settings(table: dict[str, Any], node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key, value, annotation) of every plain value; of an object its own values."""
    target, groups = node.get("_target_"), {f"{key.rpartition('.')[0]}." for key in table}
    taken = _annotations(str(target) if target else _implied(prefix.rstrip(".")))
    for name, value in node.items():
        key = f"{prefix}{name}"
        if value == "???" or name == "_target_":
            continue
        if isinstance(value, Mapping) and ("_target_" in value or not taken or name not in taken):
            yield from _settings(table, value, f"{key}.")
        elif "." in key and not target and (taken or prefix in groups) and name not in taken and key not in table:
            names = [*taken, *(k.removeprefix(prefix) for k in table if k.startswith(prefix))]
            raise ConfigError(f"no key {key!r}; {suggest(str(name), names)}")
        elif below := next((k for k in table if k.startswith(f"{key}.")), None):
            raise ConfigError(f"{key} is a group of keys, such as {below}=VALUE; got {value!r}")
        elif not _holds_objects(value):
            yield key, value, {**SOME, **table}.get(key, taken.get(str(name), Any))


def _holds_objects(value: Any) -> bool:
    """Whether a list or mapping has objects in it, which are checked when they are built."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_holds_objects, value.values()))
    return isinstance(value, list) and any(map(_holds_objects, value))


def _implied(key: str) -> str | None:
    return next((target for part, target in PARTS.items() if key and fnmatchcase(key, part)), None)


def _annotations(target: str | None) -> dict[str, Any]:
    return {} if target is None else kinds.annotations(target_class(target))
