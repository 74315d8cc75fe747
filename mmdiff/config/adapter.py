"""The parts of a configuration that make a model: an ``adapter`` node and a ``diffusion`` node."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..adapters.base import Adapter, Codec, Conditioner, Reader
from ..adapters.controls import Control, total
from ..adapters.texts import TextEncoder
from ..core.given import Given
from ..core.loss import DiffusionLoss
from ..core.parameterizations import Parameterization
from ..core.schedules import Schedule
from ..core.times import TimeDistribution
from ..core.weightings import Weighting
from ..data.coupling import Coupling
from ..data.labels import Fields, plain_fields
from ..model import DiffusionModel
from ..nn.network import Network
from .build import TARGET, ConfigError, build, check_value, parameters, part, plain, target_class
from .files import literals


def build_codec(node: Any) -> tuple[Codec, Reader]:
    """Codec and reader of an ``adapter`` node: all of it that does not depend on the data."""
    codec = build(part(node, "codec"), Codec).eval()
    return codec, build(part(node, "reader"), Reader, **codec.reading)


def settled_codec(
    node: DictConfig, codec: Codec, reader: Reader, told: Mapping[str, Any]
) -> tuple[Codec, Reader]:
    """Codec and reader once the data are open: what the ``adapter`` node leaves to the files, which have ``told`` it,
    is written into it; where there are no files it is what the codec takes then."""
    left = [name for name in codec.of_files if node["codec"].get(name) is None]
    for name in left:
        OmegaConf.update(node, f"codec.{name}", told.get(name, getattr(codec, name)), force_add=True)
    return build_codec(node) if left else (codec, reader)


def build_adapter(node: Any, codec: Codec, reader: Reader, *, fields: Fields | None = None) -> Adapter:
    """The whole adapter; ``fields`` is what the data can tell of a sample (a model file's node has them already)."""
    told: dict[str, Any] = {} if fields is None else {"fields": plain_fields(fields)}
    if node.get("text") is not None:
        told["text"] = build(node["text"], TextEncoder)
    conditioner = build(part(node, "conditioner"), Conditioner, **told)
    controls = _controls(node.get("controls") or {}, codec, conditioner.fields)
    network = _network(part(node, "network"), codec, conditioner, total(controls))
    given = None if node.get("given") is None else build(node["given"], Given)
    coupling = None if node.get("coupling") is None else build(node["coupling"], Coupling)
    return Adapter(reader, codec, conditioner, network, given, coupling, controls)


def _controls(node: Any, codec: Codec, fields: Fields) -> dict[str, Control]:
    """The maps of an ``adapter.controls`` node, by name."""
    if not isinstance(node, Mapping) or TARGET in node:
        raise ConfigError("adapter.controls has a part for each map: adapter.controls.NAME._target_=CLASS")
    if twice := [name for name in node if name in fields]:
        raise ConfigError(f"adapter.controls.{twice[0]}: the data tell a field of that name; give the map another one")
    return {
        str(name): build(control, Control, channels=codec.channels) for name, control in node.items()
        if control is not None
    }


def settled(config: DictConfig) -> DictConfig:
    """A resolved training configuration with what follows from the files that it names: a text encoder's digest."""
    node = plain(config.adapter).get("text")
    if node is None:
        return config
    told = {name: value for name, value in node.items() if name != TARGET}
    try:
        made: type[TextEncoder] = target_class(str(node.get(TARGET)), TextEncoder)
        found = made.settled(**told)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"adapter.text: {error}") from None
    config.adapter.text = literals({TARGET: node[TARGET], **found})
    return config


def _network(node: Any, codec: Codec, conditioner: Conditioner, maps: int) -> Network:
    """The network, with what follows from the others: channels, also of ``maps``, width of the condition, whether
    tokens are read."""
    known = parameters(str(node.get("_target_")), Network) if isinstance(node, Mapping) else {}
    reads = "tokens" in known
    if conditioner.tokens and not reads:
        raise ConfigError(f"{type(conditioner).__name__} gives tokens, which {plain(node)['_target_']} does not read "
                          "(it takes no argument tokens): choose another network, or no text")
    if maps and "concat_channels" not in known:
        raise ConfigError(f"adapter.controls are maps, which {plain(node)['_target_']} does not read (it takes no "
                          "argument concat_channels): choose another network, or no controls")
    follows: dict[str, Any] = {"tokens": conditioner.tokens} if reads else {}
    if "concat_channels" in known:
        follows["concat_channels"] = maps
    return build(node, Network, channels=codec.channels, cond_dim=conditioner.dim, **follows)


def build_model(adapter: Adapter, diffusion: Any) -> DiffusionModel:
    """A model of an adapter and a ``diffusion`` node: schedule, parameterization, time, weight, shift."""
    schedule = build(part(diffusion, "schedule"), Schedule)
    parameterization = build(part(diffusion, "parameterization"), Parameterization)
    time, weight = build(part(diffusion, "time"), TimeDistribution), build(part(diffusion, "weight"), Weighting)
    parts = ("schedule", "parameterization", "time", "weight")
    rest = {name: value for name, value in diffusion.items() if name not in parts}
    check_value(rest.get("shift", 1.0), float, place="diffusion.shift")
    try:
        loss = DiffusionLoss(time=time, weight=weight)
        return DiffusionModel(adapter, schedule=schedule, parameterization=parameterization, loss=loss, **rest)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"diffusion: {error}") from error
