"""The samples that a cache was made of: opened again, in its order, where more is asked of them than latents tell."""

import json
import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..adapters.base import Reader
from ..config.build import ConfigError, build, parameters, target_class
from ..data.dataset import Dataset, Subset
from ..data.labels import Label
from .latents import Latents


def uncached(latents: Latents, reader: Reader, *, root: str | None = None) -> Dataset:
    """The samples that a cache was made of, in its order; ``root`` is where their data are, if they have moved.

    Raises ``ConfigError`` where they cannot be opened, or naming one that is not there.
    """
    origin = latents.origin if root is None else moved(latents.origin, root)
    remedy = "Say where they are: mmdiff eval RUN root=FOLDER; a run trains without them with quality.every=0"
    try:
        dataset = opened(origin, reader)
    except ConfigError as error:
        raise ConfigError(f"the samples that {latents.folder.root} was made of: {error}. {remedy}") from None
    found: dict[str, deque[int]] = {}
    for i in range(len(dataset)):
        found.setdefault(dataset.name(i), deque()).append(i)          # a table may name a file in several rows
    names = [latents.name(i) for i in range(len(latents))]
    order: list[int] = []
    missing: list[str] = []
    for name in names:
        if found.get(name):
            order.append(found[name].popleft())
        else:
            missing.append(name)
    if missing:
        raise ConfigError(
            f"{latents.folder.root} was made of other samples than those of {origin.get('root', 'now')}: "
            f"{len(missing)} of {len(names)} are not there, such as {missing[0]!r}. {remedy}"
        )
    for k, i in enumerate(order):
        if (now := _plain(dataset.column(i))) != (then := _plain(latents.column(k))):
            raise ConfigError(f"the labels of {names[k]} have changed since {latents.folder.root} was made: they were "
                              f"{then}, are {now}. Run mmdiff encode again, which makes only what is new")
    return _Originals(dataset, order, latents)


def moved(node: Mapping[str, Any], root: str) -> dict[str, Any]:
    """A node of data whose ``root`` is elsewhere now, and its folders of maps with it: those at the same place from
    there, where they are."""
    maps = {}
    for name, folder in (node.get("maps") or {}).items():
        place = os.path.relpath(Path(folder).expanduser(), Path(node["root"]).expanduser())
        there = Path(root).expanduser() / place
        maps[name] = str(there) if there.is_dir() else folder
    return {**node, "root": root, **({"maps": maps} if maps else {})}


class _Originals(Subset):
    """The samples of a cache; one that has changed since is noticed when it is first read."""

    def __init__(self, dataset: Dataset, indices: Sequence[int], latents: Latents):
        super().__init__(dataset, indices)
        self.latents = latents
        self.compared: set[int] = set()

    def read(self, index: int, rng: np.random.Generator | None = None) -> tuple[Tensor, dict[str, Label]]:
        if index not in self.compared and self.dataset.digest(self.indices[index]) != self.latents.digest(index):
            raise ConfigError(
                f"{self.name(index)} has changed since {self.latents.folder.root} was made of it, so a model of these "
                "latents cannot be judged by it: bring it back, or run mmdiff encode again and train anew"
            )
        self.compared.add(index)
        return super().read(index, rng)

    def beside(
        self, index: int, rng: np.random.Generator | None = None, names: Sequence[str] | None = None
    ) -> Mapping[str, Tensor | None]:
        asked = self.maps if names is None else names
        there = [name for name in asked if name in self.latents.mapped(index)]
        return {**dict.fromkeys(asked), **super().beside(index, rng, there)}

    def mapped(self, index: int) -> Sequence[str]:
        return self.latents.mapped(index)


def _plain(column: Mapping[str, Label]) -> str:
    return json.dumps(column, sort_keys=True, ensure_ascii=False)


def opened(origin: dict[str, Any], reader: Reader) -> Dataset:
    """The data of a node, whose files are read when they are encoded, so not before. Raises ``ConfigError`` for such as
    are latents already."""
    found = target_class(str(origin.get("_target_")), Dataset)
    if issubclass(found, Dataset) and found.encoded:
        raise ConfigError("data=latents is encoded already: name the data that latents are to be made of")
    unchecked = {"check": False} if "check" in parameters(origin["_target_"]) else {}
    node = {key: value for key, value in origin.items() if key not in unchecked}
    return build(node, Dataset, reader=reader, **unchecked)
