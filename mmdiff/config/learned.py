"""The codec that ``codec=RUN|FILE`` names: its settings stand where those of ``adapter.codec`` would.

Of the run it is all that is taken; its weights are read where the codec is built (``mmdiff.store.fill``), and are whole
in every model that is trained on its latents. That of a public model stays a reference: its folder and its digests come
along (``adapter.model``, ``adapter.public``).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..adapters.base import Codec, Reader
from .build import TARGET, ConfigError, part, target_class
from .files import literals
from .header import ModelFileError, model_file, read_header

CODEC = "adapter.codec"


def with_codec(config: DictConfig, named: Iterable[str]) -> DictConfig:
    """The configuration with the codec that it names; ``named`` are the keys that its user told.

    Raises ``ConfigError`` where these would change the codec, or its samples are of another kind.
    """
    if config.get("codec") is None:
        return config
    path = model_file(config.codec)
    header = read_header(path)
    if "base" in header:
        raise ModelFileError(f"codec={config.codec} is a change of a model, without a codec of its own: name the model")
    if changed := [key for key in named if f"{key}.".startswith(f"{CODEC}.")]:
        raise ConfigError(f"{changed[0]}: codec={config.codec} has its own settings, with which it was trained: leave "
                          "that out, or train another codec")
    try:
        adapter = part(header.get("config"), "adapter")
        node, reader = part(adapter, "codec"), part(adapter, "reader")
        there, here = (target_class(str(part(n, TARGET)), Reader) for n in (reader, config.adapter.reader))
    except ConfigError as error:
        raise ModelFileError(f"{path}: {error}") from None
    if not (issubclass(there, here) or issubclass(here, there)):
        raise ConfigError(f"codec={config.codec} is of samples that {there.__name__} reads, and adapter.reader is "
                          f"{here.__name__}: name an adapter of its modality")
    merged: Any = OmegaConf.create(OmegaConf.to_container(config))
    merged.adapter.codec = literals(node)
    merged.adapter.update(literals(_reference(adapter, node, config)))
    return merged


def _reference(adapter: Mapping[str, Any], node: Mapping[str, Any], config: DictConfig) -> dict[str, Any]:
    """The folder that a codec is read from and what it is to hold, where the codec is a public model's."""
    parts = getattr(target_class(str(part(node, TARGET)), Codec), "public_parts", ())
    if not parts:
        return {}
    if (own := config.adapter.get("model")) is not None:
        raise ConfigError(f"codec={config.codec} is that of a public model, and adapter.model={own} names one already: "
                          "leave codec= out, or name an adapter of no public model")
    public = part(adapter, "public")
    digests = part(public, "digests")
    return {"model": part(adapter, "model"), "public": {**public, "digests": {p: part(digests, p) for p in parts}}}
