"""``mmdiff lora merge BASE CHANGE[:SCALE] ... out=FILE`` writes a whole model; ``mmdiff lora export CHANGE out=DIR
as=peft|diffusers`` and ``mmdiff lora import FILE base=BASE out=FILE`` go to and from other programs.

BASE and CHANGE are run directories or files. ``import`` takes files of PEFT (with adapter_config.json beside), of
diffusers and of kohya's sd-scripts that were made for the same network.
"""

import copy
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.build import ConfigError
from ..data.labels import suggest
from .paths import taken
from .places import writable
from .sample import scales

if TYPE_CHECKING:
    from torch.nn import Module

    from ..nn.network import Network

KEYS = {"merge": ("out", "base"), "export": ("as", "out"), "import": ("base", "out")}
OPTIONAL = {"merge": ("base",)}
"""Keys that need not be given: where the base is that BASE, a change itself, was made of."""
NETWORK = "network."
FILES = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")
"""What PEFT and diffusers call the file of a change in its folder."""


def main(arguments: list[str]) -> int:
    """Run one of the three."""
    if not arguments or arguments[0] not in KEYS:
        action = arguments[0] if arguments else ""
        raise ConfigError(f"lora has no command {action!r}; {suggest(action, list(KEYS))}")
    action, *rest = arguments
    needed = [key for key in KEYS[action] if key not in OPTIONAL.get(action, ())]
    paths, options = taken(f"lora {action}", rest, KEYS[action], needed=needed)
    return {"merge": _merge, "export": _export, "import": _import}[action](paths, options)


def _merge(paths: list[str], options: dict[str, str]) -> int:
    from ..config.header import chain, model_file
    from ..nn.rows import in_rows
    from ..store import load_model, save_model

    if not paths:
        raise ConfigError("say what to merge: mmdiff lora merge BASE CHANGE out=FILE")
    out = model_file_to_write(options["out"])
    model, header = load_model(paths[0], lora=scales(paths[1:]), base=options.get("base"))
    if "base" not in header and not header.get("lora"):
        raise ConfigError(f"{paths[0]} is a whole model: say what is added to it, mmdiff lora merge {paths[0]} CHANGE")
    if any(map(in_rows, model.trainable.modules())):
        raise ConfigError(f"{paths[0]} is of weights in 8 bits, which have no place for a change: merge it into a base "
                          "that was adopted with adapter.network.dtype=bfloat16 or float32")
    bases = chain(model_file(paths[0]), header)
    facts = {"step": header.get("step"), "bases": bases, "lora": header.get("lora", [])}
    save_model(model, header["config"], out, **facts)
    print(f"{out} is a model of its own; generate with: mmdiff sample {out} n=8")
    return 0


def _export(paths: list[str], options: dict[str, str]) -> int:
    if (program := options["as"]) not in {"peft", "diffusers"} or len(paths) != 1:
        raise ConfigError("mmdiff lora export takes one change and as=peft or as=diffusers")
    export(paths[0], out := Path(options["out"]), program)
    print(f"{out} holds the change as {program} reads it, of model.denoiser.network")
    return 0


def export(source: str, out: Path, program: str) -> None:
    """Write a change of a model's network into the folder ``out``, as ``peft`` or ``diffusers`` reads it."""
    from safetensors.torch import save_file

    from ..config.header import model_file
    from ..nn.lora_formats import PREFIXES, peft_config, written
    from ..store import built, generating
    from ..weights import read_model_file

    header, tensors = read_model_file(path := model_file(source))
    if "base" not in header:
        raise ConfigError(f"{path} is a whole model, and no change of one")
    start, network = _known(generating(built(path, header["config"]), path).network)
    if foreign := [name for name in tensors if not name.startswith(start)]:
        raise ConfigError(f"{path} changes more than the network, such as {foreign[0]}, which {program} cannot tell: "
                          "mmdiff lora merge makes a model with it")
    change = {name.removeprefix(start): value for name, value in tensors.items()}
    try:
        converted, rank = written(network, change, prefix=PREFIXES[0] if program == "peft" else "transformer.")
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    writable("out", out)
    out.mkdir(parents=True, exist_ok=True)
    if program == "peft":
        config = peft_config(rank, converted, base=header["bases"][0]["name"])
        (out / "adapter_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        save_file(converted, out / FILES[0], {"format": "pt"})
    else:
        save_file(converted, out / FILES[1], {"format": "pt"})


def _import(paths: list[str], options: dict[str, str]) -> int:
    from ..change import Change, apply
    from ..config.header import chain, model_file
    from ..nn.lora_formats import read
    from ..store import load_model, save_change

    if len(paths) != 1:
        raise ConfigError("mmdiff lora import takes one file or folder")
    tensors, config = _foreign(Path(paths[0]).expanduser())
    base, out = options["base"], model_file_to_write(options["out"])
    model, header = load_model(base)
    try:
        start, network = _known(model.network)
        change = {f"{start}{name}": value for name, value in read(network, tensors, config).items()}
    except ValueError as error:
        raise ConfigError(f"{paths[0]}: {error}") from None
    file = model_file(base)
    _warn_of_another(paths[0], config or {}, bases := chain(file, header))
    try:                                                              # every tensor has its place, or this says which
        apply(copy.deepcopy(model), model, [Change(change, model.conditioner.fields, name=paths[0])])
    except ValueError as error:
        raise ConfigError(str(error)) from None
    save_change(change, header["config"], out, base=file, bases=bases, step=None)
    print(f"{out}: {len(tensors)} tensors; generate with: mmdiff sample {base} lora={out}")
    return 0


def _warn_of_another(path: str, config: Mapping[str, Any], bases: Sequence[Mapping[str, Any]]) -> None:
    """Tell of a foreign file that says that it changes a model of another name; it has no hash to know it by."""
    made_of = Path(str(config.get("base_model_name_or_path") or "")).name
    if made_of and made_of != bases[0]["name"]:
        warnings.warn(f"{path} says that it changes {made_of!r}, and base= is {bases[0]['name']!r}: its layers fit, "
                      "and only whoever made it knows whether the weights are the same", stacklevel=3)


def _known(network: "Network") -> tuple[str, "Module"]:
    """What other programs know of a network, and how its names begin in the file of a change."""
    return f"{NETWORK}{network.inner}.".replace("..", "."), network.get_submodule(network.inner)


def _foreign(path: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The tensors of a foreign file, or of a folder of PEFT's or diffusers', and PEFT's configuration where that is
    beside, or in the header of the file."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    from ..nn.lora_formats import header_config

    held = [file for name in FILES if (file := path / name).is_file()]
    file = (held or [path / FILES[0]])[0] if path.is_dir() else path
    beside = file.with_name("adapter_config.json")
    try:
        with safe_open(file, "pt") as opened:
            config = header_config(opened.metadata() or {})
        if config is None and beside.exists():
            config = json.loads(beside.read_text(encoding="utf-8"))
        return load_file(file), config
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise ConfigError(f"cannot read {file}: {error}") from None


def model_file_to_write(out: str) -> Path:
    """The place of a new model file. Raises ``ConfigError`` where that cannot be written."""
    path = Path(out)
    if path.suffix != ".safetensors":
        raise ConfigError(f"out={out}: a model is written as .safetensors")
    if path.exists():
        raise ConfigError(f"out={out} is there already: choose another name")
    writable("out", path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
