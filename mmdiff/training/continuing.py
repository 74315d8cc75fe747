"""What may be changed of a run that goes on: every key is then in force, or refused by name.

Rates, lengths, what is logged, saved and shown, how samples are read and loaded, and on what devices: these may change.
What the weights were learned with and what the stream of draws is counted by may not: there is no such run.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from torch import Size, nn

from ..config.adapter import left_to_files
from ..config.build import ConfigError, complete
from ..config.files import literal
from ..config.inherit import LEARNED_PARTS
from ..config.record import Setting, named
from ..nn import tensors

STREAM = "the order of samples and their noise are counted by it"
LEARNED = "the weights were learned with it"
SPLIT = "samples held out would be learned from"
KEPT = {
    "seed": STREAM, "loader.batch_size": STREAM, "loader.budget": STREAM, "loader.multiple": STREAM,
    "loader.limit": STREAM, "adapter.reader.buckets": STREAM,
    "loader.val": SPLIT, "loader.group": SPLIT, "loader.by_time": SPLIT,
    "codec": LEARNED, "reconstruction": LEARNED, "adversary": LEARNED,
    "adapter.codec": LEARNED, "adapter.network": LEARNED, "adapter.text.digest": LEARNED, "adapter.public": LEARNED,
    "adapter.text.layer": LEARNED, "adapter.controls": LEARNED,
    "diffusion.schedule": LEARNED, "diffusion.parameterization": LEARNED,
    "train": LEARNED, "lora": LEARNED, "dora": LEARNED, "branch": LEARNED,
    "diffusion.jumps": LEARNED, "subject": LEARNED, "prior": STREAM, "few": LEARNED,
}
"""Keys, and all below them, that a run keeps."""
GROUPS = ("experiment", "debug")
"""Groups that are no part of the configuration themselves."""


def continued(
    run: Path, stored: DictConfig, requested: DictConfig, overrides: Sequence[str] | None = None
) -> tuple[DictConfig, list[Setting]]:
    """The configuration ``stored`` of an existing run with the values of ``overrides`` in force, and what they change.

    A group may be named again: ``requested``, which is composed with it, must then agree. Without ``overrides`` all of
    ``requested`` is in force. Raises ``ConfigError`` for what a run keeps.
    """
    requested = _filled(requested, stored)
    config: Any = OmegaConf.create(OmegaConf.to_container(requested if overrides is None else stored))
    groups = []
    config.run = literal(str(run))
    for key in requested:                                             # what a run of an earlier version did not know
        if key not in config and key not in LEARNED_PARTS:
            config[key] = requested[key]
    for override in OverridesParser.create().parse_overrides(list(overrides or ())):
        key = override.key_or_group
        if override.is_delete():                                      # as GROUP=null is written
            if "." in key:
                raise ConfigError(f"{override.input_line}: {run} exists, and ~ takes nothing away from it")
            if OmegaConf.select(config, key.replace("/", ".")) is not None:
                raise ConfigError(f"{run} exists and keeps its {key}: {key}=null is for another run, named by run=")
        elif "/" in key or key in GROUPS or ("." not in key and isinstance(config.get(key), DictConfig)):
            groups.append(key)
        elif key != "run" and not key.startswith("hydra"):
            OmegaConf.update(config, key, override.value(), force_add=True)
    config = _filled(config, stored)
    for group in groups:
        _agree(run, config, requested, group)
    found = list(changes(stored, config))
    for change in found:
        _check(run, stored, change)
    return config, found


def _filled(config: DictConfig, stored: DictConfig) -> DictConfig:
    """The same with what files have told the run of settings that are left to them."""
    filled: Any = OmegaConf.create(OmegaConf.to_container(config))
    node: Any = OmegaConf.select(filled, "adapter.codec") or {}
    for name in left_to_files(node) if "_target_" in node else ():
        value = OmegaConf.select(stored, f"adapter.codec.{name}")
        if OmegaConf.select(node, name) is None and value is not None:
            OmegaConf.update(node, name, value, force_add=True)
    public, asked = (OmegaConf.select(config, "adapter.public") for config in (stored, filled))
    if public is not None and asked is not None and public.get("digests") == asked.get("digests"):
        filled.adapter.public = public                                # the same weights, in a folder of another name
    return filled


def changes(old: DictConfig, new: DictConfig) -> Iterator[Setting]:
    """The keys in which two configurations differ, the defaults of signatures included."""
    before, after = (dict(_leaves(complete(config))) for config in (old, new))
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key) and key != "run":
            yield Setting(key, before.get(key), after.get(key))


def fits(run: Path, module: nn.Module, shapes: Mapping[str, Size], changed: Sequence[Setting]) -> None:
    """Raise ``ConfigError`` where a checkpoint's tensors, told by their ``shapes``, are not those of ``module``."""
    expected = tensors.shapes(module.state_dict())
    if differ := tensors.misplaced(expected, shapes):
        keys = [change.key for change in changed if change.key.partition(".")[0] in ("adapter", "diffusion", "ema")]
        cause = f"which {', '.join(keys)} would change" if keys else "which is of another version of mmdiff"
        raise ConfigError(f"{run} keeps its model, {cause}: {len(differ)} tensors differ, such as {differ[0]} "
                          f"({tensors.extent(shapes.get(differ[0]))} saved, "
                          f"{tensors.extent(expected.get(differ[0]))} asked for)")


def _agree(run: Path, config: DictConfig, asked: DictConfig, group: str) -> None:
    part = group.split("/")[0]
    parts = [part] if part in asked and part not in GROUPS else [str(p) for p in asked if p != "run"]
    differ = list(changes(*(OmegaConf.masked_copy(node, parts) for node in (config, asked))))
    if differ:
        listed = "; ".join(f"{change.key} is {change.old}, not {change.new}" for change in differ[:5])
        raise ConfigError(f"{run} exists and keeps its {part if part in asked else 'choices'}, which {group}=... would "
                          f"change: {listed}. To go on with it as it is: mmdiff train {named(run)}")


def _check(run: Path, stored: DictConfig, change: Setting) -> None:
    reasons = [reason for key, reason in KEPT.items() if f"{change.key}.".startswith(f"{key}.")]
    if change.key.endswith("_target_"):
        reasons.append("another class is another run")
    if change.key.startswith("ema.") and change.key.split(".")[1] not in stored.get("ema", {}):
        reasons.append("an average needs the weights of all steps")
    if change.key == "init" and None in (change.old, change.new):
        reasons.append("what its weights began with is behind it")
    if reasons:
        raise ConfigError(f"{run} exists and keeps {change.key}={change.old}, as {reasons[0]}: leave it out to go on, "
                          "or begin another run with run=")


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value
