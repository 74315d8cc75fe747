"""A public model as a model file: a few kB that name its folder.

    config, size      as of a model that was trained here; adapter.public = {name, licence, digests of its parts}
    bases             the public model, by the hash of its digests
    tensors           none of its own: codec statistics alone
"""

import hashlib
import json
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ..adapters.base import Codec, Conditioner
from ..config.adapter import build_codec, build_learner, parts
from ..config.build import TARGET, ConfigError, plain, target_class
from ..data.labels import plain_fields
from ..store import generating, save_model


def adopt(config: DictConfig, path: Path) -> Path:
    """Write the public model of a resolved training configuration, as it is, as a model file: that names its folder, by
    digests, its name and its licence, and has none of its weights. A sample is of the size that its reader reads."""
    codec, reader = build_codec(config.adapter)
    conditioner: type[Conditioner] = target_class(str(config.adapter.conditioner[TARGET]), Conditioner)
    fields = conditioner.default_fields or {}
    model = generating(build_learner(config, codec, reader, fields=fields), path)
    if not model.network.pretrained:
        raise ConfigError(f"{type(model.network).__name__} is the network of no public model: choose another adapter=")
    stored = {name: plain(config[name]) for name in parts(config)}
    stored["adapter"]["conditioner"]["fields"] = plain_fields(fields)
    stored["size"] = read_size(stored["adapter"], codec)
    public = stored["adapter"]["public"]
    digest = hashlib.sha256(json.dumps(public["digests"], sort_keys=True).encode()).hexdigest()
    origin = {"name": public["name"], "sha256": digest, "step": None, "licence": public["licence"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, stored, path, step=None, bases=[origin])
    return path


def read_size(adapter: Mapping[str, Any], codec: Codec) -> dict[str, float]:
    """The size of the samples that the reader of an ``adapter`` node reads, in the words of the codec."""
    own = adapter["reader"]
    return {name: own[name] for name in signature(codec.latent_shape).parameters if own.get(name) is not None}
