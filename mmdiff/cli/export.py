"""``mmdiff export RUN as=model|onnx|torch|mmdiff|diffusers out=PATH [precision=int8 lora=RUN:SCALE base= encoder=]``.

``as=model precision=int8`` writes a model file a quarter of the size (bf16 and fp16: half), which ``mmdiff sample``
takes as it is. ``as=mmdiff`` writes a folder to share, with a card, for ``mmdiff.load``, and ``as=diffusers`` one with
a change of a public model for its pipeline. ``as=onnx`` and ``as=torch`` (torch.export) write the network alone for
other programs, at any batch and size, with the model's configuration beside the weights: docs/performance.md says what
goes in and comes out.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.build import ConfigError, build
from ..data.labels import suggest
from .paths import taken
from .places import writable
from .sample import scales

if TYPE_CHECKING:
    from torch import Tensor

    from ..model import DiffusionModel

FORMS = {"model": ".safetensors", "onnx": ".onnx", "torch": ".pt2", "mmdiff": "", "diffusers": ""}
"""What is written, by the ending of its file; folders have none."""
KEYS = ("as", "out", "precision", "lora", "base", "encoder")
BATCH = 2
"""Samples that a network is traced with, at least."""


def main(arguments: list[str]) -> int:
    """Write one file."""
    paths, options = taken("export", arguments, KEYS, needed=("as", "out"))
    form, out = options["as"], Path(options["out"]).expanduser()
    if form not in FORMS:
        raise ConfigError(f"as={form}: {suggest(form, list(FORMS))}")
    if len(paths) != 1 or out.suffix != FORMS[form]:
        ending = f"an out= that ends in {FORMS[form]}" if FORMS[form] else "a folder as out="
        raise ConfigError(f"mmdiff export takes one run or model file, and for as={form} {ending}")
    if ("precision" in options) != (form == "model"):
        raise ConfigError("as=model needs a precision= that makes it smaller" if form == "model" else
                          f"as={form} is written in fp32: leave precision out, other programs have their own")
    if out.exists():
        raise ConfigError(f"out={out} is there already: choose another name")
    writable("out", out.parent)
    if not FORMS[form]:
        return _folder(paths[0], form, options, out)

    from ..store import load_model

    model, header = load_model(paths[0], lora=scales(options.get("lora")), base=options.get("base"),
                               encoder=options.get("encoder"))
    if "precision" in header:
        raise ConfigError(f"{paths[0]} is a file of low precision already: export the model that it was made of")
    out.parent.mkdir(parents=True, exist_ok=True)
    if form == "model":
        _model(paths[0], model, header, options["precision"], out)
    else:
        _network(model, header, form, out)
    return 0


def _folder(path: str, form: str, options: dict[str, str], out: Path) -> int:
    from .repository import write_diffusers, write_mmdiff

    if other := [key for key in options if key not in ("as", "out")]:
        raise ConfigError(f"as={form} writes a model as it is: leave {other[0]} out")
    (write_mmdiff if form == "mmdiff" else write_diffusers)(path, out)
    print(f"{out} is a folder for others, with a README.md to look through: " + (
        f"mmdiff.load({str(out)!r})" if form == "mmdiff" else f"pipeline.load_lora_weights({str(out)!r})"))
    return 0


def _model(path: str, model: "DiffusionModel", header: dict[str, Any], precision: str, out: Path) -> None:
    from ..config.header import chain, model_file
    from ..config.options import chosen
    from ..engines.base import node_of
    from ..engines.precision import Precision
    from ..store import save_model

    if model.network.pretrained:
        raise ConfigError(f"{path} is of a public model, whose weights stay in its folder: adopt that with "
                          "adapter.network.dtype=int8, which takes as little memory")
    low = build(chosen("precision", precision), Precision)
    low.stored(model.network)
    facts = {name: header[name] for name in ("step", "consent") if name in header}
    bases = chain(file := model_file(path), header)
    save_model(model, header["config"], out, **facts, bases=bases, lora=header.get("lora", []), precision=node_of(low))
    ratio = out.stat().st_size / file.stat().st_size
    print(f"{out} is {ratio:.0%} of {file}; generate with: mmdiff sample {out} n=8")


def _network(model: "DiffusionModel", header: dict[str, Any], form: str, out: Path) -> None:
    import torch

    from ..engines.files import onnx_bytes, traced

    inputs, about = network_inputs(model, header), json.dumps(header)
    if form == "onnx":
        out.write_bytes(onnx_bytes(model.network, inputs, mmdiff=about))
    else:
        torch.export.save(traced(model.network, inputs), out, extra_files={"mmdiff.json": about})
    told = "; its vector is that of the conditioner and that of the jump, added up" if model.jumps is not None else ""
    print(f"{out} is the network alone: {', '.join(inputs)} -> out, at any batch and size{told}")


def network_inputs(model: "DiffusionModel", header: dict[str, Any]) -> dict[str, "Tensor"]:
    """What the network of a model is told in generation, by name."""
    import torch

    from ..adapters.controls import total
    from ..engines.files import named

    shape = model.codec.latent_shape(**header["config"]["size"])
    cond = model.condition([{} for _ in range(BATCH)])
    if model.controls:
        cond = cond._replace(concat=torch.zeros(BATCH, total(model.controls), *shape))
    if model.jumps is not None:                                       # told through the vector, also where that is none
        told = model.jumps(torch.zeros(BATCH), torch.ones(BATCH)).detach()
        cond = cond._replace(vector=told if cond.vector is None else cond.vector + told)
    return named(torch.zeros(BATCH, model.codec.channels, *shape), torch.zeros(BATCH), cond, None)
