"""Options of a config group by name, for callers in Python."""

from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Any

import yaml

from ..data.labels import suggest
from .build import ConfigError
from .plugins import roots


def chosen(group: str, said: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """The configuration that a name or a mapping stands for; an empty one for None.

    Raises ``ConfigError`` for a name that no option of the group has.
    """
    if isinstance(said, str):
        files = named(group)
        if said not in files:
            raise ConfigError(f"{group}={said}: {suggest(said, list(files))}")
        return yaml.safe_load(files[said].read_text(encoding="utf-8"))
    if not isinstance(said, Mapping | None):
        raise ConfigError(f'{group} is the name of an option or a mapping such as {{"_target_": CLASS, ...}}, '
                          f"got {said!r}")
    return dict(said or {})


def named(group: str) -> dict[str, Traversable]:
    """The files of a group by the names of its options, mmdiff's own before those of plug-ins."""
    found: dict[str, Traversable] = {}
    for root in roots().values():
        folder = root.joinpath(group)
        for file in folder.iterdir() if folder.is_dir() else ():
            if file.name.endswith(".yaml"):
                found.setdefault(file.name.removesuffix(".yaml"), file)
    return dict(sorted(found.items()))
