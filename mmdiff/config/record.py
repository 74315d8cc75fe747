"""What a run directory says of the run it holds: how it was set up, what was changed on the way, what it learned from.

    config.yaml    what is in force, and under ``history`` each change: {step, key, old, new}
    data.json      fields (classes in order, ranges of scalars), names of the training and held-out samples, what was
                   skipped and why, the models that it started from

A run's fields are its own: its weights know a class by its place in the table, and a scalar by its range.
"""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from ..data.dataset import Dataset
from ..data.labels import TEXT, Fields, is_scalar, is_text, kind, plain_fields
from .build import ConfigError, plain
from .files import CONFIG_FILE, MODEL_FILE, literals, load_yaml
from .header import BASES
from .kinds import check

DATA_FILE = "data.json"
ESSENTIAL = ("adapter", "data", "loader", "optim", "seed", "trainer")
"""Parts without which a configuration is no run's."""


class Setting(NamedTuple):
    """A key of the configuration (or ``data``) with its values before and after."""

    key: str
    old: Any
    new: Any


class Record(NamedTuple):
    """What is known of a run that was begun."""

    run: Path
    config: DictConfig
    history: list[dict[str, Any]]
    fields: Fields
    training: list[str]
    held_out: list[str]
    bases: Sequence[dict[str, Any]] = ()
    """The models that it started from, nearest first."""


def named(run: Path) -> str:
    """The word that names a run in a shell."""
    return shlex.quote(f"run={run}")


def read_record(run: Path) -> Record | None:
    """What a run directory says of its run; None where there is none.

    Raises ``ConfigError`` where there is a run whose description is missing or cannot be read.
    """
    config, history = stored_config(run) or (None, [])
    if config is None:
        found = [name for name in ("checkpoints", MODEL_FILE, "metrics.csv") if (run / name).exists()]
        if found:
            raise ConfigError(f"{run} has {' and '.join(found)}, but no {CONFIG_FILE} that says of what: bring it "
                              "back, or name another run=")
        return None
    try:
        data = json.loads((run / DATA_FILE).read_text(encoding="utf-8"))
        fields, names = data["fields"], (data["training"], data["held out"])
        if not isinstance(fields, dict) or not all(_is_field(field) for field in fields.values()):
            raise ValueError("its fields are no classes and ranges")
        if not all(isinstance(part, list) and all(isinstance(name, str) for name in part) for part in names):
            raise ValueError("its samples are no lists of names")
        check(bases := data.get("bases", []), BASES, key="its bases")
        return Record(run, config, history, fields, *names, bases)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"cannot read {run / DATA_FILE}, which says what the run learned from ({error!r}): bring "
                          "back a copy of it, or name another run=") from None


def stored_config(run: Path) -> tuple[DictConfig, list[dict[str, Any]]] | None:
    """The configuration in force of an existing run, and its history."""
    if not (run / CONFIG_FILE).exists():
        return None
    config = load_yaml(run / CONFIG_FILE)
    missing = [key for key in ESSENTIAL if not isinstance(config, DictConfig) or key not in config]
    if missing:
        raise ConfigError(f"{run / CONFIG_FILE} has no {', '.join(missing)}: it is cut off, or no run's; bring back a "
                          "whole copy, or name another run=")
    history = plain(config.pop("history", []))
    if not isinstance(history, list) or not all(isinstance(change, dict) for change in history):
        raise ConfigError(f"{run / CONFIG_FILE}: its history is no list of changes; bring back a whole copy")
    return config, history


def _is_field(field: Any) -> bool:
    """Whether it is a list of classes, the two ends of a range, or any text."""
    return field == TEXT or (isinstance(field, list) and (
        all(isinstance(value, str) for value in field)
        or (len(field) == 2 and all(type(value) in (int, float) and math.isfinite(value) for value in field))
    ))


def files(
    config: DictConfig, history: Sequence[Mapping[str, Any]], report: Mapping[str, Any], train: Dataset,
    held_out: Dataset, bases: Sequence[Mapping[str, Any]] = (),
) -> dict[str, str]:
    """The files that describe a run, by name: the one that makes a directory a run comes last."""
    data = {**report, "fields": plain_fields(train.fields), "training": names(train), "held out": names(held_out),
            "bases": list(bases)}
    plain: Any = OmegaConf.to_container(config)
    full = plain | ({"history": literals(list(history))} if history else {})
    return {DATA_FILE: json.dumps(data, indent=1), CONFIG_FILE: OmegaConf.to_yaml(OmegaConf.create(full))}


def names(dataset: Dataset) -> list[str]:
    """The names of all samples."""
    return [dataset.name(i) for i in range(len(dataset))]


def merged_fields(record: Record, found: Fields) -> Fields:
    """The run's fields, if the data still are within them. Raises ``ConfigError`` naming what is new or missing."""
    stored = record.fields
    changed = [f"{'no' if name in stored else 'a new'} field {name!r}" for name in dict.fromkeys([*stored, *found])
               if (name in stored) != (name in found)]
    for name in stored:
        if name in found:
            changed += _changed(name, stored[name], found[name])
    if changed:
        raise ConfigError(
            f"the data are not of the fields that {record.run} has learned: {'; '.join(changed)}. Bring the data back "
            "as they were (data.labels= chooses fields), or begin another run with run="
        )
    return stored


def _changed(name: str, stored: Sequence, found: Sequence) -> list[str]:
    if kind(stored) != kind(found):
        return [f"{name} was {kind(stored)}, is {kind(found)}"]
    if is_text(stored):
        return []
    if is_scalar(stored):
        within = stored[0] <= found[0] and found[1] <= stored[1]
        return [] if within else [f"{name} was from {stored[0]} to {stored[1]}, is from {found[0]} to {found[1]}"]
    new, gone = [c for c in found if c not in stored], [c for c in stored if c not in found]
    return [f"{name} has {word} {', '.join(map(repr, some[:10]))}" + (f" and {len(some) - 10} more" * (len(some) > 10))
            for word, some in (("a new", new), ("no longer", gone)) if some]


def data_change(record: Record, train: Dataset, held_out: Dataset) -> Setting | None:
    """How the samples differ from those that the run began with, counted."""
    before, now = (record.training, record.held_out), (names(train), names(held_out))
    if before == now:
        return None
    old, new = ({name for part in parts for name in part} for parts in (before, now))
    change = {
        "new": len(new - old), "gone": len(old - new), "trained on before and held out now":
        len(set(before[0]) & set(now[1])), "held out before and trained on now": len(set(before[1]) & set(now[0])),
    }
    counts = [f"{len(parts[0])} training and {len(parts[1])} held-out samples" for parts in (before, now)]
    moved = ", ".join(f"{count} {what}" for what, count in change.items() if count) or "in another order"
    return Setting("data", counts[0], f"{counts[1]}: {moved}")
