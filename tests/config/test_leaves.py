"""For every leaf of every shipped configuration a value of another kind is refused, naming key, value and kind."""

from collections.abc import Iterator
from typing import Any

import lightning as L
import pytest
from omegaconf import OmegaConf

from mmdiff.adapters.base import Codec, Conditioner, Reader
from mmdiff.cli.list import options
from mmdiff.config.build import ConfigError, check, plain
from mmdiff.config.options import named
from mmdiff.config.overrides import composed
from mmdiff.core.given import Given
from mmdiff.core.guidance import Guidance
from mmdiff.core.parameterizations import Parameterization
from mmdiff.core.samplers import Sampler
from mmdiff.core.schedules import Schedule
from mmdiff.core.times import TimeDistribution
from mmdiff.core.weightings import Weighting
from mmdiff.data.coupling import Coupling
from mmdiff.data.dataset import Dataset
from mmdiff.data.loaders import Loading
from mmdiff.evaluation.protocol import Protocol
from mmdiff.nn.network import Network
from mmdiff.training.optim import Recipe

PLACES = {
    "adapter.reader": Reader, "adapter.codec": Codec, "adapter.conditioner": Conditioner, "adapter.network": Network,
    "adapter.given": Given, "adapter.coupling": Coupling, "diffusion.schedule": Schedule, "sampler": Sampler,
    "diffusion.parameterization": Parameterization, "diffusion.time": TimeDistribution, "diffusion.weight": Weighting,
    "guidance": Guidance, "data": Dataset, "loader": Loading, "optim": Recipe, "trainer": L.Trainer,
}
GROUPS = [
    "adapter", "data", "diffusion", "diffusion/schedule", "diffusion/parameterization", "diffusion/time",
    "diffusion/weight", "sampler", "guidance", "optim", "trainer", "experiment",
]
WRONG: dict[type, list[Any]] = {
    bool: ["no", 1, [True]], int: [2.5, "abc", True, [1], {"a": 1}], float: ["half", True, [1.0]],
    str: [True, ["a"], {"a": 1}], list: [5, True, "abc"],
}
NAMING = ("adapter", "diffusion", "experiment")
"""Groups whose options choose options of others."""
ASKED = {"autoguidance": ["guidance.weak=x"], "several": ["guidance.scales={note: 2.0}"]}
"""What an option leaves to be said."""
DERIVED = {
    "adapter.reader": ("sample_rate", "fps", "background"), "adapter.network": ("channels", "cond_dim"),
    "adapter.conditioner": ("fields",), "data": ("reader",),
}


def leaves(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        elif key != "_target_" and value is not None:
            yield (*path, key), value


def changed(node: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    key, *rest = path
    return {**node, key: changed(node[key], tuple(rest), value) if rest else value}


def refused(node: dict[str, Any], role: type, place: str) -> str:
    """Why the node is refused; nothing where it is not."""
    try:
        check(node, (role,), dict.fromkeys(DERIVED.get(place, ())) | dict.fromkeys(reading(node)))
    except ConfigError as error:
        return str(error)
    return ""


def reading(node: dict[str, Any]) -> tuple[str, ...]:
    """What a codec asks of its reader, by whatever it is called."""
    return () if "Reader" not in node["_target_"] else tuple(
        name for name in ("sample_rate", "fps", "background", "channels", "normals", "colors", "elements")
        if name not in node
    )


def stated(group: str, name: str) -> dict[str, dict[str, Any]]:
    """What an option says of each place: as it is composed, or as its file says where that is all."""
    if group not in NAMING and name not in ASKED:
        return {group.replace("/", "."): OmegaConf.to_container(OmegaConf.load(str(named(group)[name])))}
    config = composed("train", ["run=x", f"{group}={name}", *ASKED.get(name, ())])
    own = ("adapter", "diffusion", "data") if group == "experiment" else (group.replace("/", "."), "loader")
    found = {place: OmegaConf.select(config, place) for place in PLACES if place.startswith(own)}
    return {place: OmegaConf.to_container(node, resolve=True) for place, node in found.items() if node is not None}


@pytest.mark.parametrize(("group", "name"), [(g, n) for g in GROUPS for n in options(g)], ids=str)
def test_a_value_of_another_kind_is_refused(group, name):
    for place, node in stated(group, name).items():
        role = PLACES[place]
        for path, value in leaves(node):
            for wrong in WRONG[type(value)]:
                if path == ("devices",) and wrong in ("abc", [1]):    # it takes "auto" and numbers of GPUs
                    continue
                reason = refused(changed(node, path, wrong), role, place)
                assert path[-1] in reason, f"{place}.{'.'.join(path)}={wrong!r} passes: {reason}"


@pytest.mark.parametrize("name", options("evaluation"))
def test_a_value_of_another_kind_in_a_protocol_is_refused(name):
    node = plain(composed("eval", ["run=x", f"evaluation={name}"]).evaluation)
    for path, value in leaves(node):
        for wrong in WRONG[type(value)]:
            assert path[-1] in refused(changed(node, path, wrong), Protocol, "evaluation"), (path, wrong)
