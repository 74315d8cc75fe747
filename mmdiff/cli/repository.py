"""A model as a folder that others take: as mmdiff loads it, or as diffusers loads a change of one of its models.

    mmdiff      README.md  config.json  model.safetensors  [base.safetensors: the public model that it changes, by name]
    diffusers   README.md  pytorch_lora_weights.safetensors

README.md begins with what the hub reads: library, licence, the base model and how this comes from it, the task.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.build import ConfigError
from ..data.writing import write_atomic

if TYPE_CHECKING:
    from ..nn.network import Network

MODEL, BASE = "model.safetensors", "base.safetensors"
USE = """```python
import {library}

{lines}
```
"""


def write_mmdiff(source: str, out: Path) -> None:
    """Write a run or model file as a folder for ``mmdiff.load``. Raises ``ConfigError`` for a change of what is no
    whole model, as that would have to come along."""
    from ..config.header import model_file, read_header
    from ..store import save_change
    from ..weights import read_model_file, write_model_file

    header, tensors = read_model_file(path := model_file(source))
    out.mkdir(parents=True)
    facts = {name: value for name, value in header.items() if name not in ("format", "sha256", "config", "base")}
    if "base" in header:
        base = model_file(path.parent / header["base"])
        if "base" in (started := read_header(base)):
            raise ConfigError(f"{source} is a change of {base}, a change itself: make one model of both first, with "
                              "mmdiff lora merge")
        write_atomic(out / BASE, base.read_bytes())
        facts.pop("holds")
        save_change(tensors, header["config"], out / MODEL, base=out / BASE, **facts)
        public = bool(started.get("bases"))
    else:
        public = False
        write_model_file(out / MODEL, tensors, header["config"], facts)
    about = {"library_name": "mmdiff", "config": header["config"]}
    write_atomic(out / "config.json", json.dumps(about, indent=1).encode())
    more = ', encoder="FOLDER OF THE BASE MODEL"' if public else ""
    lines = f'pipeline = mmdiff.load("{out.name}"{more})\nsamples = pipeline.sample(4)'
    use = USE.format(library="mmdiff", lines=lines)
    write_atomic(out / "README.md", _card(source, header, "mmdiff", use).encode())


def write_diffusers(source: str, out: Path) -> None:
    """Write a change of a public model as a folder for ``load_lora_weights`` of its pipeline."""
    from ..config.header import model_file, read_header
    from .lora import export

    header = read_header(model_file(source))
    pipeline = next(iter(_network(header).pipelines), "").partition(" ")[0]
    if not pipeline:
        raise ConfigError("as=diffusers is a change of a public model, such as adapter=wan lora=16 learns, and "
                          f"{source} is a model of our own: as=mmdiff writes it")
    export(source, out, "diffusers")
    base = (header.get("bases") or [{"name": ""}])[-1]["name"]
    lines = (f'pipeline = diffusers.{pipeline}.from_pretrained("{base}")\n'
             f'pipeline.load_lora_weights("{out.name}")')
    write_atomic(out / "README.md", _card(source, header, "diffusers", USE.format(library="diffusers", lines=lines))
                 .encode())


def _network(header: dict[str, Any]) -> "type[Network]":
    from ..config.build import target_class
    from ..nn.network import Network

    return target_class(str(header["config"]["adapter"]["network"]["_target_"]), Network)


def _card(source: str, header: dict[str, Any], library: str, use: str) -> str:
    """The card of the run, where it is one, below the header that the hub reads and how it is used."""
    from ..evaluation.report.card import body, head

    network = _network(header)
    front = head(header, library=library, task=network.task)
    run = Path(source).expanduser()
    text = body(run, header) if run.is_dir() else ""
    return f"{front}\n# {run.absolute().name}\n\n## Use\n\n{use}\n{text}"
