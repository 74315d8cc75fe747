"""What a run takes over from the model that ``init=`` names: its parts stand where its groups' choices would.

    adapter, diffusion, sampler, guidance of the model file   <   experiment=   <   key=value

Groups that the model is not made of are left out. A group that is named (``adapter=audio_dit``) is chosen anew. The
fields of the conditioner are no configuration: what can be told follows from the base's fields and the data. A student
(``few=``) learns of what its teacher learned of, as it did: the data of a run, how they are loaded and the optimizer
come along where no data are named.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from .adapter import parts
from .build import ConfigError, part, plain
from .files import literals
from .header import ModelFileError, model_file, read_header
from .options import chosen as option
from .options import named as options
from .record import stored_config

LEARNED_PARTS = ("adapter", "diffusion", "reconstruction", "adversary", "sampler", "guidance")
"""Groups of a training configuration that may make what is trained."""
OPTION = "_base_"
OF_RUN = ("data", "loader", "optim")
"""Parts that only a run directory knows."""
BRINGS = {"few": ("sampler", "guidance")}
"""Groups that choose others, which are then not those of the base."""


def parts_of(header: dict[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """The groups of a model file as choices of a composition: without what the data told."""
    try:
        config = header.get("config")
        if not isinstance(config, dict):
            raise ConfigError("it has no configuration")
        groups = {name: copy.deepcopy(part(config, name)) for name in parts(config)}
        if not all(isinstance(group, dict) for group in groups.values()):
            raise ConfigError("its parts are no mappings")
        conditioner = groups["adapter"].get("conditioner", {})
        if not isinstance(conditioner, dict):
            raise ConfigError("its conditioner is no mapping")
    except ConfigError as error:
        raise ModelFileError(f"{path}: {error}") from None
    conditioner.pop("fields", None)
    return groups


@contextmanager
def offered(base: str | Path | None) -> Iterator[None]:
    """While it lasts, the groups of ``base`` are options of the name ``OPTION``; nothing is where it is None."""
    if base is None:
        yield
        return
    path, store, run = model_file(base), ConfigStore.instance(), stored_config(Path(base))
    groups, before = parts_of(read_header(path), path), store.repo
    groups |= {} if run is None else {name: plain(run[0][name]) for name in OF_RUN}
    store.repo = copy.copy(before)
    try:
        for group, node in groups.items():
            store.repo[group] = dict(before.get(group, {}))
            store.store(OPTION, OmegaConf.create(literals(node)), group)
        yield
    finally:
        store.repo = before


def brought(group: str, name: str) -> set[str]:
    """The groups that an option chooses besides, ``override /GROUP: OPTION``: with ``adapter=wan`` its diffusion."""
    lines = option(group, name).get("defaults", []) if name in options(group) else []
    keys = (str(key).partition("override /")[2] for line in lines if isinstance(line, dict) for key in line)
    return {key.partition("/")[0] for key in keys if key}


def choices(base: Path, named: set[str]) -> list[str]:
    """The lines that choose the groups of ``base`` and no others, but for those that are ``named``."""
    stored = parts_of(read_header(path := model_file(base)), path)
    lines = {group: f"~{group}" for group in LEARNED_PARTS} | {
        group: f"{'' if group in LEARNED_PARTS else '+'}{group}={OPTION}" for group in stored
    }
    chosen = named.union(*(brought for group, brought in BRINGS.items() if group in named))
    found = [line for group, line in lines.items() if group not in chosen]
    if "few" in named and not {"data", "data.root", "experiment"} & named and stored_config(base) is not None:
        found += [f"data={OPTION}", f"+loader={OPTION}"]
        found += [] if "optim" in named else [f"optim={OPTION}"]
    return found
