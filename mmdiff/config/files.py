"""What a run directory holds, by name, and its configuration as data: it may come from anybody."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from .build import ConfigError

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.yaml"
"""The configuration in a run directory."""


def load_yaml(path: str | Path) -> DictConfig:
    """The YAML file of a run directory as a config: plain values, with an error that names the file.

    It may come from anybody: an interpolation, which could read the environment, and an alias, of which a few make a
    file of any size, are refused.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise ConfigError("it refers to parts of itself")
        config: Any = OmegaConf.create(text)
        found = list(_interpolations(OmegaConf.to_container(config, resolve=False)))
    except Exception as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if found:
        raise ConfigError(f"{path} is refused: a run's configuration has plain values, and this has {found[0]}")
    return config


def _interpolations(value: Any) -> Iterator[str]:
    if isinstance(value, str) and re.search(r"(?<!\\)(\\\\)*\$\{", value):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _interpolations(item)


def literal(text: str) -> str:
    """A text as OmegaConf stores it: a ``${`` in it is no reference to another value."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def literals(value: Any) -> Any:
    """Plain values as OmegaConf stores them: each text in them as ``literal``."""
    if isinstance(value, dict):
        return {key: literals(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [literals(item) for item in value]
    return literal(value) if isinstance(value, str) else value


def resolved(config: DictConfig) -> DictConfig:
    """The configuration with the values that its references stand for; texts stay what they are."""
    return OmegaConf.create(literals(OmegaConf.to_container(config, resolve=True)))
