"""The parts of a configuration that make what a run trains.

    adapter.codec, adapter.reader   ->   what the data tell   ->   the node whose class is a ``Learner``: ``diffusion``

The parameters of that class say which other parts it is made of (``adapter``, or ``codec`` and ``reader`` alone;
``sampler``, ``guidance``), and those are what its model file keeps.
"""

from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..adapters.adversary import Adversary
from ..adapters.base import Adapter, Codec, Conditioner, Reader
from ..adapters.controls import Control, total
from ..adapters.public import PublicModel
from ..adapters.texts import TextEncoder
from ..core.given import Given
from ..core.guidance import Guidance
from ..core.samplers import Sampler
from ..data.coupling import Coupling
from ..data.dataset import Dataset
from ..data.labels import Fields, plain_fields
from ..learner import Learner
from ..nn.network import Network
from .build import TARGET, ConfigError, build, parameters, part, plain, target_class
from .files import literals
from .kinds import KindError, check


def build_dataset(node: Any, reader: Reader, fields: Fields) -> Dataset:
    """The data of a run, for a model that can be told ``fields`` already."""
    known = {"fields": fields} if "fields" in parameters(node[TARGET], Dataset) else {}
    return build(node, Dataset, reader=reader, **known)


def build_codec(node: Any) -> tuple[Codec, Reader]:
    """Codec and reader of an ``adapter`` node: all of it that does not depend on the data."""
    codec = build(part(node, "codec"), Codec, **_public(node, "codec", Codec)).eval()
    return codec, build(part(node, "reader"), Reader, **codec.reading)


def resolve_codec(
    node: DictConfig, codec: Codec, reader: Reader, stated: Mapping[str, Any]
) -> tuple[Codec, Reader]:
    """Codec and reader once the data are open: what the ``adapter`` node leaves to the files, which have ``stated`` it,
    is written into it; where there are no files it is what the codec takes then."""
    left = [name for name in left_to_files(node["codec"]) if OmegaConf.select(node, f"codec.{name}") is None]
    for name in left:
        value = stated.get(name.rpartition(".")[2], attrgetter(name)(codec))
        OmegaConf.update(node, f"codec.{name}", value, force_add=True)
    return build_codec(node) if left else (codec, reader)


def left_to_files(node: Any) -> list[str]:
    """The settings of a codec node that the files tell where they are null, those of a codec within it included."""
    cls: type[Codec] = target_class(str(node[TARGET]), Codec)
    within = {name: value for name, value in node.items() if isinstance(value, Mapping) and TARGET in value}
    return [*cls.of_files, *(f"{name}.{one}" for name, value in within.items()
                              if issubclass(target_class(str(value[TARGET])), Codec) for one in left_to_files(value))]


def build_adapter(node: Any, codec: Codec, reader: Reader, *, fields: Fields | None = None) -> Adapter:
    """The whole adapter; ``fields`` is what the data can tell of a sample (a model file's node has them already)."""
    arguments: dict[str, Any] = {} if fields is None else {"fields": plain_fields(fields)}
    if (text := build_text(node)) is not None:
        arguments["text"] = text
    arguments |= _public(node, "conditioner", Conditioner)
    conditioner = build(part(node, "conditioner"), Conditioner, **arguments)
    controls = _controls(node.get("controls") or {}, codec, conditioner.fields)
    public = _public(node, "network", Network)
    network = _network(part(node, "network"), codec, conditioner, total(controls), public)
    given = None if node.get("given") is None else build(node["given"], Given)
    coupling = None if node.get("coupling") is None else build(node["coupling"], Coupling)
    return Adapter(reader, codec, conditioner, network, given, coupling, controls)


def build_text(node: Any) -> TextEncoder | None:
    """What reads texts, where an ``adapter`` node says so."""
    return None if node.get("text") is None else build(node["text"], TextEncoder, **_public(node, "text", TextEncoder))


def _controls(node: Any, codec: Codec, fields: Fields) -> dict[str, Control]:
    """The maps of an ``adapter.controls`` node, by name."""
    if not isinstance(node, Mapping) or TARGET in node:
        raise ConfigError("adapter.controls has a part for each map: adapter.controls.NAME._target_=CLASS")
    if twice := [name for name in node if name in fields]:
        raise ConfigError(f"adapter.controls.{twice[0]}: the data tell a field of that name; give the map another one")
    return {str(name): _control(str(name), control, codec) for name, control in node.items() if control is not None}


def _control(name: str, node: Any, codec: Codec) -> Control:
    try:                                                              # before it is built of what it has no sense of
        codec.check_map(name, target_class(str(node[TARGET]), Control))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    known = parameters(node[TARGET], Control)
    facts = {name: value for name, value in codec.facts.items() if name in known}
    return build(node, Control, channels=codec.channels, **facts)


def _public(node: Any, name: str, role: type) -> dict[str, Any]:
    """The public model of an ``adapter`` node, where its part ``name`` is made of one."""
    config = part(node, name)
    target = config.get(TARGET) if isinstance(config, Mapping) else None
    if not isinstance(target, str) or "model" not in parameters(target, role):
        return {}
    if node.get("model") is None:
        raise ConfigError(f"{target.rpartition('.')[2]} is a part of a public model: name its folder by adapter.model=")
    facts = plain(node.get("public") or {})
    try:
        check(facts, dict[str, str | dict[str, str]], key="adapter.public")
        return {"model": PublicModel(Path(str(node["model"])), **facts)}
    except (KindError, TypeError) as error:
        raise ConfigError(f"adapter.public is no description of a public model: {error}") from None


def resolve_files(config: DictConfig) -> DictConfig:
    """A resolved training configuration with what follows from the files that it names: digests of a public model and
    of a text encoder."""
    adapter = plain(config.adapter)
    if adapter.get("model") is not None and "public" not in adapter:
        targets = [(adapter.get(name) or {}).get(TARGET) for name in ("codec", "network", "text", "conditioner")]
        parts = [part for target in targets if isinstance(target, str)
                 for part in getattr(target_class(target), "public_parts", ())]
        try:
            config.adapter.public = literals(PublicModel.described(Path(adapter["model"]), parts))
        except (OSError, ValueError) as error:
            raise ConfigError(str(error)) from None
    node = adapter.get("text")
    if node is None:
        return config
    arguments = {name: value for name, value in node.items() if name != TARGET}
    try:
        cls: type[TextEncoder] = target_class(str(node.get(TARGET)), TextEncoder)
        found = cls.resolve(**arguments)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"adapter.text: {error}") from None
    config.adapter.text = literals({TARGET: node[TARGET], **found})
    return config


def _network(
    node: Any, codec: Codec, conditioner: Conditioner, maps: int, public: Mapping[str, PublicModel]
) -> Network:
    """The network, with what follows from the others: channels, also of ``maps``, width of the condition, whether
    tokens are read, and the ``public`` model that it is of."""
    known = parameters(str(node.get("_target_")), Network) if isinstance(node, Mapping) else {}
    reads = "tokens" in known
    if conditioner.tokens and not reads:
        raise ConfigError(f"{type(conditioner).__name__} gives tokens, which {plain(node)['_target_']} does not read "
                          "(it takes no argument tokens): choose another network, or no text")
    if maps and "concat_channels" not in known:
        raise ConfigError(f"adapter.controls are maps, which {plain(node)['_target_']} does not read (it takes no "
                          "argument concat_channels): choose another network, or no controls")
    follows: dict[str, Any] = {**public, **({"tokens": conditioner.tokens} if reads else {})}
    if "concat_channels" in known:
        follows["concat_channels"] = maps
    if "downsampling" in known:
        follows["downsampling"] = list(codec.downsampling)
    return build(node, Network, channels=codec.channels, cond_dim=conditioner.dim, **follows)


ROLES: dict[str, type] = {"sampler": Sampler, "guidance": Guidance, "adversary": Adversary}
"""Parts of a configuration besides the adapter that a learner may be made of."""
OPTIONAL = ("adversary",)
"""Those of them that need not be there."""


def learner_part(config: Any) -> str:
    """The part of a configuration that says what is trained. Raises ``ConfigError`` where none does, or several."""
    if not isinstance(config, Mapping | DictConfig):
        raise ConfigError("there is no configuration")
    found = [str(name) for name in config if _learns(config, str(name))]
    if len(found) == 1:
        return found[0]
    wrong = "is trained by this configuration" if not found else f"but one of {', '.join(found)} can be trained"
    raise ConfigError(f"nothing {wrong}: choose it, such as diffusion=flow, and leave others out by null")


def _learns(config: Any, name: str) -> bool:
    node = config[name]
    target = node.get(TARGET) if isinstance(node, Mapping) else None
    return isinstance(target, str) and issubclass(target_class(target), Learner)


def learner_class(config: Any) -> type[Learner]:
    """What is trained by a configuration."""
    return target_class(str(config[learner_part(config)][TARGET]), Learner)


def parts(config: Any) -> tuple[str, ...]:
    """The parts of a configuration that make what is trained: what a model file keeps of it."""
    name = learner_part(config)
    taken = parameters(config[name][TARGET], Learner)
    return "adapter", name, *(role for role in ROLES if role in taken and not _absent(config, role))


def _absent(config: Any, role: str) -> bool:
    return role in OPTIONAL and config.get(role) is None


def build_learner(config: Any, codec: Codec, reader: Reader, *, fields: Fields | None = None) -> Learner:
    """What a run trains, of a configuration and its codec and reader; ``fields`` is what the data can tell (the
    configuration of a model file has them already)."""
    if is_conditional(config):
        return learner_of(config, adapter=build_adapter(part(config, "adapter"), codec, reader, fields=fields))
    return learner_of(config, codec=codec, reader=reader)


def learner_of(config: Any, **parts: Any) -> Learner:
    """What a run trains, of a configuration and ``parts`` that are built: adapter, or codec and reader."""
    name = learner_part(config)
    taken = parameters(config[name][TARGET], Learner)
    roles = {role: None if _absent(config, role) else build(part(config, role), kind)
             for role, kind in ROLES.items() if role in taken}
    return build(config[name], Learner, **roles, **parts)


def is_conditional(config: Any) -> bool:
    """Whether what is trained is told labels, and generates: all of an adapter is then in use."""
    return "adapter" in parameters(config[learner_part(config)][TARGET], Learner)
