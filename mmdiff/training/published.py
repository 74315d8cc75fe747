"""The settings of public models as they were published (``configs/published``), for plans: no weights.

    NAME.yaml = {model_index, licence, PART: config.json of the part, ...}
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..adapters.public import settings_file
from ..config.build import ConfigError
from ..config.options import chosen, named


def fitting(pipelines: tuple[str, ...]) -> list[str]:
    """The published models that are of one of these classes of pipelines, the smallest of a family first."""
    return [name for name in named("published") if _pipeline(chosen("published", name)) in pipelines]


@contextmanager
def unpacked(name: str) -> Iterator[Path]:
    """A folder as diffusers' ``save_pretrained`` writes it, its files of settings alone, while it is needed."""
    parts = chosen("published", name)
    _pipeline(parts)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / name
        folder.mkdir()
        (folder / "README.md").write_text(f"---\nlicense: {parts.pop('licence')}\n---\n", encoding="utf-8")
        (folder / "model_index.json").write_text(json.dumps(parts.pop("model_index")), encoding="utf-8")
        for part, settings in parts.items():
            (folder / part).mkdir()
            (folder / part / settings_file(part)).write_text(json.dumps(settings), encoding="utf-8")
        yield folder


def _pipeline(parts: dict[str, Any]) -> str:
    try:
        index = parts["model_index"]
        return f"{index['_class_name']}{' with expand_timesteps' if index.get('expand_timesteps') else ''}"
    except (KeyError, TypeError):
        raise ConfigError("published settings name the class of their pipeline: model_index._class_name") from None
